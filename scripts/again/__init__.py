"""Images built again and again: are they the same?"""
