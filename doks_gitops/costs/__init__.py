"""What stacks cost per month, before anything is created: DigitalOcean's list prices, as the
account tells them, for what the stack files ask."""
