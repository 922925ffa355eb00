"""What is asked of a fitted model: how many components, whether to believe it, how exact it is."""
