"""Where results live: staged per try, published per month in one atomic step, in a folder or in Blob."""
