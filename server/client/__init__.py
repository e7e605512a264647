"""A server seen from elsewhere: its API as a program calls it, and the servers a person knows.

This room knows the API by what it answers, never by the rooms that answer.
"""
