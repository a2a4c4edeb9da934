"""What the commands in script/ do, one module for each."""
