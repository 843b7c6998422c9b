"""What is run by hand or in continuous integration, and is no part of the package."""
