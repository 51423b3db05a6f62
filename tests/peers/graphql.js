// A server of GraphQL subscriptions, by graphql-ws on ws. It listens on the port in the first
// argument. With a second one, a token, it refuses clients whose connection_init has another.

'use strict';

const { buildSchema } = require('graphql');
const { useServer } = require('graphql-ws/use/ws');
const { WebSocketServer } = require('ws');

const [port, token] = process.argv.slice(2);

const schema = buildSchema(`
  type Query { hello: String }
  type Subscription { countdown(from: Int!): Int, ticks: Int, failing: Int }
`);

const roots = {
  subscription: {
    countdown: async function* ({ from }) {
      for (let number = from; number > 0; number--) {
        yield { countdown: number };
      }
    },
    ticks: async function* () {
      for (let number = 1; ; number++) {
        yield { ticks: number };
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    failing: async function* () {
      yield { failing: () => { throw new Error('no such number'); } };
    },
  },
};

const server = new WebSocketServer({ port: Number(port), host: '127.0.0.1', path: '/graphql' });
useServer({
  schema,
  roots,
  onConnect: (context) => !token || context.connectionParams?.token === token,
}, server);
