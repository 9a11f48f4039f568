"""From a finished job to the user: XComs, and the user's own storage."""
