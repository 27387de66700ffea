SELECT key, version FROM algorithms WHERE key = ANY (%(keys)s)
