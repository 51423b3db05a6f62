// A server on ws, as tests/peers/__init__.py describes it. Options come as JSON in the first
// argument; it prints {"port"} once it listens and {"code", "reason"} of each connection at its
// end, a line each, and ends itself when stdin does.

'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocketServer } = require('ws');

const options = JSON.parse(process.argv[2]);
const print = (message) => process.stdout.write(JSON.stringify(message) + '\n');

const pem = options.pem && fs.readFileSync(options.pem);
const httpServer = pem ? https.createServer({ key: pem, cert: pem }) : http.createServer();

const wsServer = new WebSocketServer({
  server: httpServer,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has('chat') ? 'chat' : false),
});

wsServer.on('connection', (socket, request) => {
  const path = request.url;
  socket.on('close', (code, reason) => print({ code, reason: reason.toString() }));
  socket.on('message', (data, binary) => {
    if (path === '/close') {
      socket.close(...options.close);
    } else if (path === '/fragments') {
      const size = Math.floor(data.length / (options.fragments - 1)) || 1;
      for (let i = 0; i < options.fragments - 1; i++) {
        socket.send(data.subarray(i * size, (i + 1) * size), { binary, fin: false });
      }
      socket.send(data.subarray((options.fragments - 1) * size), { binary, fin: true });
    } else {
      socket.send(data, { binary });
    }
  });
  socket.on('pong', (data) => {
    if (data.toString() === options.ping) socket.send('ponged');
  });
  if (path === '/burst') {
    for (let i = 0; i < options.burst; i++) socket.send(String(i));
  } else if (path === '/ping') {
    socket.ping(options.ping);
  }
});

httpServer.listen(0, '127.0.0.1', () => print({ port: httpServer.address().port }));

process.stdin.on('end', () => process.exit(0)).resume();
