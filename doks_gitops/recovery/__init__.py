"""Recovery of a stack: `bin/platform recover --stack STACK`.

It compares the stack's state, the account and the cluster, plans the steps from that (`plan`), and
takes them. It deletes nothing from the state that the account still has.
"""
