"""The grammar of Sec-WebSocket-Extensions (RFC 6455 9.1).

Knows names and parameters, but not what any extension means by them.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING, text_type
from lomond.errors import HandshakeError
from lomond.http.grammar import TOKEN

if TYPE_CHECKING:
    from typing import List, Optional, Tuple

    Parameter = Tuple[text_type, Optional[text_type]]
    Offer = Tuple[text_type, List[Parameter]]

# A token, a quoted string, or one separator (RFC 7230 3.2.6), after spaces. A quoted string may
# contain anything but control characters, Latin-1 as well.
_LEXEME = re.compile(
    r'[ \t]*(?:'
    r'(?P<token>' + TOKEN + r')'
    r'|"(?P<quoted>(?:[\t !\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e\x80-\xff])*)"'
    r'|(?P<separator>[;,=])'
    r'|(?P<end>\Z)'
    r')')
_ESCAPE = re.compile(r'\\(.)')


class _Lexer(object):
    """Looks one lexeme ahead in a header's value."""

    def __init__(self, value):
        # type: (text_type) -> None
        self._value = value
        self._pos = 0
        self.advance()

    def advance(self):
        # type: () -> None
        match = _LEXEME.match(self._value, self._pos)
        if match is None:
            raise self.error()
        self._pos = match.end()
        self.kind = match.lastgroup or ''
        self.text = match.group(self.kind)  # type: text_type

    def skip(self, separator):
        # type: (str) -> bool
        if self.kind == 'separator' and self.text == separator:
            self.advance()
            return True
        return False

    def take_token(self):
        # type: () -> text_type
        if self.kind != 'token':
            raise self.error()
        token = self.text
        self.advance()
        return token

    def take_value(self):
        # type: () -> text_type
        if self.kind != 'quoted':
            return self.take_token()
        value = _ESCAPE.sub(r'\1', self.text)
        self.advance()
        return value

    def error(self):
        # type: () -> HandshakeError
        return HandshakeError('Sec-WebSocket-Extensions is malformed: {!r}', self._value[:200])


def parse_extensions(value):
    # type: (text_type) -> List[Offer]
    """Parse a header into ``[(name, [(parameter, value or None), ...]), ...]``.

    A quoted value may be any text here, though RFC 6455 9.1 requires a token in it: the caller
    decides whether to decline such an extension or to refuse it.

    Raises HandshakeError if the header breaks the grammar.
    """
    lexer = _Lexer(value)
    extensions = []  # type: List[Offer]
    while True:
        while lexer.skip(','):      # RFC 7230 7: empty items of a list don't count
            pass
        if lexer.kind == 'end':
            return extensions
        name = lexer.take_token()
        parameters = []  # type: List[Parameter]
        while lexer.skip(';'):
            parameter = lexer.take_token()
            parameters.append((parameter, lexer.take_value() if lexer.skip('=') else None))
        extensions.append((name, parameters))
        if lexer.kind != 'end' and not (lexer.kind == 'separator' and lexer.text == ','):
            raise lexer.error()


def format_extension(name, parameters):
    # type: (text_type, List[Parameter]) -> text_type
    """Build one item of the header; every value must be a token."""
    return u'; '.join([name] + [
        parameter if value is None else u'{}={}'.format(parameter, value)
        for parameter, value in parameters
    ])
