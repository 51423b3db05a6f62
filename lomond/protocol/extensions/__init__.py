"""Extensions of the protocol (RFC 6455 9), and the grammar by which they are agreed on."""
