"""Keys of stored passwords. Apache Kafka 4 does not have them."""

from typing import Final

from kafka_cy.config.types import Entry

#: Apache Kafka 4 does not know these keys, so clients do not see them.
INTERNAL_KEYS: Final[tuple[Entry, ...]] = (
    ("password.encoder.cipher.algorithm", "STRING", "AES/CBC/PKCS5Padding", "read-only", None, "LOW", "config",
     "Cipher of stored passwords: AES/CBC/PKCS5Padding or AES/GCM/NoPadding."),
    ("password.encoder.iterations", "INT", "4096", "read-only", ("at_least", 1024), "LOW", "config",
     "Iterations with which the key of stored passwords is derived; at most 100,000."),
    ("password.encoder.key.length", "INT", "128", "read-only", ("at_least", 8), "LOW", "config",
     "Length of the key of stored passwords: 128, 192 or 256 bits."),
    ("password.encoder.keyfactory.algorithm", "STRING", None, "read-only", None, "LOW", "config",
     "How the key of stored passwords is derived: PBKDF2WithHmacSHA512 (also if unset), or with SHA384, SHA256, SHA224, SHA1."),
    ("password.encoder.old.secret", "PASSWORD", None, "read-only", None, "MEDIUM", "config",
     "The secret before the current one. What was stored with it is stored with the current one when the broker starts."),
    ("password.encoder.secret", "PASSWORD", None, "read-only", None, "MEDIUM", "config",
     "Secret that encrypts passwords among the stored settings of a broker."),
)
