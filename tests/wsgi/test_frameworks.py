"""`upgrade` in the views of web frameworks, and a framework's own answers beside it."""

from __future__ import absolute_import, division, print_function

import pytest
import six
from six.moves.http_client import HTTPConnection

from lomond import WebSocket, errors, wsgi
from tests.support import PATIENCE
from tests.wsgi.test_upgrade import served

pytestmark = pytest.mark.costly


def echo(websocket):
    for text in websocket.messages():
        websocket.send_text(text)


def make_flask():
    flask = pytest.importorskip('flask')
    app = flask.Flask(__name__)

    # Before version 2 Werkzeug doesn't find such a route for a WebSocket's request.
    @app.route('/feed', **({} if six.PY2 else {'websocket': True}))
    def feed():
        if flask.request.args.get('user') == 'nobody':
            flask.abort(401)
        try:
            echo(wsgi.upgrade(flask.request.environ))
        except wsgi.NotUpgraded as refused:
            return refused
        return ''

    if not six.PY2:
        @app.route('/feed')
        def plain():
            return wsgi.NotUpgraded(426, b'the Upgrade header')

    return app


def make_django():
    pytest.importorskip('django')
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def feed(request):
        if request.GET.get('user') == 'nobody':
            return HttpResponse('', status=401)
        try:
            echo(wsgi.upgrade(request.META))
        except wsgi.NotUpgraded as refused:
            return HttpResponse(
                refused.body, status=refused.status_code, headers=dict(refused.headers))
        return HttpResponse()

    settings.configure(
        ROOT_URLCONF=(path('feed', feed),), ALLOWED_HOSTS=['*'], SECRET_KEY='x',
        LOGGING_CONFIG=None)
    return get_wsgi_application()


def make_bottle():
    bottle = pytest.importorskip('bottle')
    app = bottle.Bottle()

    @app.route('/feed')
    def feed():
        if bottle.request.query.user == 'nobody':
            return bottle.HTTPResponse('', 401)
        try:
            echo(wsgi.upgrade(bottle.request.environ))
        except wsgi.NotUpgraded as refused:
            return bottle.HTTPResponse(refused.body, refused.status_code, dict(refused.headers))
        return ''

    return app


def make_pyramid():
    config = pytest.importorskip('pyramid.config')
    from pyramid.response import Response

    def feed(request):
        if request.GET.get('user') == 'nobody':
            return Response(status=401)
        try:
            echo(wsgi.upgrade(request.environ))
        except wsgi.NotUpgraded as refused:
            return request.get_response(refused)
        return Response()

    configurator = config.Configurator()
    configurator.add_route('feed', '/feed')
    configurator.add_view(feed, route_name='feed')
    return configurator.make_wsgi_app()


@pytest.fixture(
    scope='module', params=[make_flask, make_django, make_bottle, make_pyramid],
    ids=['flask', 'django', 'bottle', 'pyramid'])
def url(request):
    with served(request.param()) as url:
        yield url + u'feed'


def test_view_has_a_websocket(url):
    with WebSocket(url) as websocket:
        websocket.open(PATIENCE)
        websocket.send_text(u'hello')
        assert websocket.receive(PATIENCE) == u'hello'
        websocket.close()
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive(PATIENCE)
        assert websocket.close_received.code == 1000


def test_answer_of_the_framework_comes_before_the_upgrade(url):
    with pytest.raises(errors.Rejected) as caught:
        WebSocket(url + u'?user=nobody').open(PATIENCE)
    assert caught.value.response.status_code == 401


def test_plain_request_gets_426_from_a_view(url):
    http = HTTPConnection(url.split(u'/')[2], timeout=PATIENCE)
    http.request('GET', '/feed')
    response = http.getresponse()
    assert response.status == 426
    assert b'the Upgrade header' in response.read()
    http.close()
