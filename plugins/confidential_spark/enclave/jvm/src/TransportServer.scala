package org.apache.spark.network.server

import com.codahale.metrics.{Counter, MetricSet}
import java.util.Collections
import java.util.concurrent.atomic.AtomicInteger
import org.apache.spark.network.TransportContext

/** In place of Spark's class of this name, where all of Spark is one process: there is no server and no port.
  *
  * What the process sends to itself is delivered without a connection, because its address is its own; for
  * everything else nobody is there. The port is a number that makes addresses differ, and is never opened.
  */
class TransportServer(
    context: TransportContext,
    host: String,
    port: Int,
    handler: RpcHandler,
    bootstraps: java.util.List[TransportServerBootstrap])
    extends java.io.Closeable {
  private val number = TransportServer.numbers.incrementAndGet()
  private val connections = new Counter
  def getPort(): Int = number
  def getAllMetrics(): MetricSet = new MetricSet { override def getMetrics = Collections.emptyMap() }
  def getRegisteredConnections(): Counter = connections
  override def close(): Unit = ()
}

object TransportServer {
  private val numbers = new AtomicInteger(0)
}
