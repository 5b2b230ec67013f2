"""The version of the package: here alone.

Stores say which one wrote them; a test holds the files that start clusters to it.
"""

VERSION = "0.1.0"
