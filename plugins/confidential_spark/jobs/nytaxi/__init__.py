"""The job nytaxi."""
