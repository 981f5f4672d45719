"""Reading image files, and images as arrays and pictures."""
