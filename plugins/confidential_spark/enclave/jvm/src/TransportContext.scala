package org.apache.spark.network

import com.codahale.metrics.Counter
import confidentialspark.AuthenticationGate
import io.netty.channel.EventLoopGroup
import io.netty.channel.socket.SocketChannel
import io.netty.handler.timeout.IdleStateHandler
import java.util.{ArrayList, List => JList}
import org.apache.spark.network.client._
import org.apache.spark.network.protocol.{MessageDecoder, MessageEncoder}
import org.apache.spark.network.server._
import org.apache.spark.network.util._

/** In place of Spark's class of this name, between pods: every connection, of either side, begins behind a gate.
  *
  * Spark asks for authentication only where a request is an RPC; what asks for a stream or a chunk it serves at
  * once, and what answers its own connections may send requests before it has proved anything.
  */
class TransportContext(conf: TransportConf, rpcHandler: RpcHandler, closeIdle: Boolean, clientOnly: Boolean)
    extends java.io.Closeable {
  private val connections = new Counter
  private val separateChunks =
    "shuffle".equalsIgnoreCase(conf.getModuleName) && !clientOnly && conf.separateChunkFetchRequest
  private val chunkWorkers: Option[EventLoopGroup] =
    if (separateChunks)
      Some(NettyUtils.createEventLoop(
        IOMode.valueOf(conf.ioMode), conf.chunkFetchHandlerThreads, "shuffle-chunk-fetch-handler"))
    else None

  def this(conf: TransportConf, rpcHandler: RpcHandler, closeIdle: Boolean) = this(conf, rpcHandler, closeIdle, false)
  def this(conf: TransportConf, rpcHandler: RpcHandler) = this(conf, rpcHandler, false, false)

  def createClientFactory(bootstraps: JList[TransportClientBootstrap]): TransportClientFactory =
    new TransportClientFactory(this, bootstraps)
  def createClientFactory(): TransportClientFactory = createClientFactory(new ArrayList[TransportClientBootstrap])

  def createServer(port: Int, bootstraps: JList[TransportServerBootstrap]): TransportServer =
    createServer(null, port, bootstraps)
  def createServer(host: String, port: Int, bootstraps: JList[TransportServerBootstrap]): TransportServer =
    new TransportServer(this, host, port, rpcHandler, bootstraps)
  def createServer(bootstraps: JList[TransportServerBootstrap]): TransportServer = createServer(0, bootstraps)
  def createServer(): TransportServer = createServer(0, new ArrayList[TransportServerBootstrap])

  def initializePipeline(channel: SocketChannel): TransportChannelHandler = initializePipeline(channel, rpcHandler)

  def initializePipeline(channel: SocketChannel, channelRpcHandler: RpcHandler): TransportChannelHandler = {
    val handler = createChannelHandler(channel, channelRpcHandler)
    val pipeline = channel.pipeline
      // First, so that it sees bytes and not messages; Spark puts the connection's cipher before it.
      .addLast(AuthenticationGate.Name, new AuthenticationGate(server = channel.parent != null))
      .addLast("encoder", MessageEncoder.INSTANCE)
      .addLast(TransportFrameDecoder.HANDLER_NAME, NettyUtils.createFrameDecoder())
      .addLast("decoder", MessageDecoder.INSTANCE)
      .addLast("idleStateHandler", new IdleStateHandler(0, 0, conf.connectionTimeoutMs / 1000))
      .addLast("handler", handler)
    for (workers <- chunkWorkers)
      pipeline.addLast(workers, "chunkFetchHandler", chunkHandler(handler.getClient, rpcHandler, sync = true))
    handler
  }

  private def createChannelHandler(channel: SocketChannel, handler: RpcHandler): TransportChannelHandler = {
    val separate = conf.separateChunkFetchRequest
    val responses = new TransportResponseHandler(channel)
    val client = new TransportClient(channel, responses)
    val chunks = if (separate) null else chunkHandler(client, handler, sync = false)
    val requests = new TransportRequestHandler(channel, client, handler, conf.maxChunksBeingTransferred, chunks)
    new TransportChannelHandler(
      client, responses, requests, conf.connectionTimeoutMs, separate, closeIdle, this)
  }

  private def chunkHandler(client: TransportClient, handler: RpcHandler, sync: Boolean): ChunkFetchRequestHandler =
    new ChunkFetchRequestHandler(client, handler.getStreamManager, conf.maxChunksBeingTransferred, sync)

  def getConf(): TransportConf = conf
  def getRegisteredConnections(): Counter = connections
  override def close(): Unit = chunkWorkers.foreach(_.shutdownGracefully())
}
