"""Brings a stack back, whatever was lost: `bin/platform recover --stack STACK`.

It compares what the state knows, what the account has and what the cluster answers, says what it is
going to do, and does it. Nothing is forgotten that the account still has.
"""
