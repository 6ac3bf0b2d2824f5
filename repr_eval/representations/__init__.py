"""What turns images into features, and the store that keeps them."""
