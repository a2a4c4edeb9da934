"""RabbitMQ: what it takes to receive, publish, declare and set aside messages.

Pure transport: nothing here knows what a message says, and nothing of ours is
imported. Every connection lives in a thread of its own, which alone touches
it; whoever uses it waits in another thread, always with a deadline. A lost
connection is never repaired in place: all its users get `BrokerLost`, and make
a new one when they are ready to.
"""
