from kafka_cy.authorizer.acl_image import AclImage

class Reader:
    def __init__(self, image: AclImage) -> None: ...
    def exactly_one(
        self, user: bytes, host: bytes, resource_type: int, a: bytes, b: bytes, operation: int, times: int
    ) -> int: ...
