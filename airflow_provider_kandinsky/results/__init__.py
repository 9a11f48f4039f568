"""The way of a finished job's images to the user: XCom, asset events, and files."""
