"""How a deployment makes an audit bundle of what it has published; not in the wheel."""
