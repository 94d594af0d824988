"""`python -m kafka_cy` is the command `kafka-cy`."""

from kafka_cy.tools.main import main

if __name__ == "__main__":
    main()
