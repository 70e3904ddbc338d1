// An aedes broker: ARGUMENTS port, WebSocket port (0: none), seconds between pings of WebSockets (0: none).
// With a WebSocket library that closes connections with frames that are not masked, as RFC 6455 wants it.
import { createServer } from 'node:net'
import { createServer as createHttp } from 'node:http'
import { Aedes } from 'aedes'
import { WebSocketServer, createWebSocketStream } from 'ws'

const [port, webPort, pingSeconds] = process.argv.slice(2).map(Number)
const aedes = await Aedes.createBroker()
createServer(aedes.handle).listen(port, '127.0.0.1')
if (webPort) {
  const http = createHttp()
  const web = new WebSocketServer({ server: http, handleProtocols: () => 'mqtt' })
  web.on('connection', (socket, request) => {
    const stream = createWebSocketStream(socket)
    stream.on('error', (error) => console.log(`WebSocket: ${error.message}`))
    socket.on('pong', (data) => console.log(`pong ${data}`))
    if (pingSeconds) {
      const timer = setInterval(() => socket.ping('still there'), pingSeconds * 1000)
      socket.on('close', (code) => { clearInterval(timer); console.log(`WebSocket closed ${code}`) })
    }
    aedes.handle(stream, request)
  })
  http.listen(webPort, '127.0.0.1')
}
