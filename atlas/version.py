"""The version of the package: here alone. Stores say which one wrote them."""

VERSION = "0.1.0"
