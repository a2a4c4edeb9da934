"""The conversation that script/demo holds with a node, as its peers would, over RabbitMQ."""
