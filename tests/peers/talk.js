// A client on ws, the function `talk` that tests/peers/__init__.py describes: what to do comes as
// JSON on stdin, what came of it goes to stdout.

'use strict';

const fs = require('fs');
const { WebSocket } = require('ws');

const task = JSON.parse(fs.readFileSync(0, 'utf8'));
const received = [];

const socket = new WebSocket(task.url, task.protocols, {
  ca: fs.readFileSync(task.authority),
  perMessageDeflate: task.compress ? { threshold: 0 } : false,
});

const closeIfDone = () => {
  if (task.close && received.length === task.messages.length) socket.close(...task.close);
};

socket.on('open', () => {
  for (const message of task.messages) {
    socket.send('text' in message ? message.text : Buffer.from(message.base64, 'base64'));
  }
  closeIfDone();
});

socket.on('message', (data, binary) => {
  received.push(binary ? { base64: data.toString('base64') } : { text: data.toString() });
  closeIfDone();
});

socket.on('close', (code, reason) => {
  process.stdout.write(JSON.stringify({
    messages: received,
    closed: [code, reason.toString()],
    protocol: socket.protocol,
  }));
});
