"""The running system broken from outside: real processes, a proxy of our own, no patched code.

What each fault does and how long it takes is in docs/reference/faults.md.
"""
