package confidentialspark

import java.io.IOException
import java.net.{DatagramSocket, DatagramSocketImpl, DatagramSocketImplFactory, ProtocolFamily}
import java.net.{ServerSocket, Socket, SocketImpl, SocketImplFactory}
import java.nio.channels.{AsynchronousChannelGroup, AsynchronousServerSocketChannel, AsynchronousSocketChannel}
import java.nio.channels.{DatagramChannel, Pipe, ServerSocketChannel, SocketChannel}
import java.nio.channels.spi.{AbstractSelector, AsynchronousChannelProvider, SelectorProvider}
import java.util.concurrent.{ExecutorService, ThreadFactory}

/** This JVM opens no socket: the second lock, behind a Spark that wants none. Named on the command line. */
final class NoSockets extends SelectorProvider {
  private val own = NoSockets.default()
  override def openDatagramChannel(): DatagramChannel = NoSockets.refuse()
  override def openDatagramChannel(family: ProtocolFamily): DatagramChannel = NoSockets.refuse()
  override def openServerSocketChannel(): ServerSocketChannel = NoSockets.refuse()
  override def openSocketChannel(): SocketChannel = NoSockets.refuse()
  // What Netty's idle event loops are made of: pipe(2) and epoll, which have no address.
  override def openPipe(): Pipe = own.openPipe()
  override def openSelector(): AbstractSelector = own.openSelector()
}

/** The same for asynchronous channels. Named on the command line. */
final class NoAsynchronousSockets extends AsynchronousChannelProvider {
  override def openAsynchronousChannelGroup(threads: Int, factory: ThreadFactory): AsynchronousChannelGroup =
    NoSockets.refuse()
  override def openAsynchronousChannelGroup(executor: ExecutorService, size: Int): AsynchronousChannelGroup =
    NoSockets.refuse()
  override def openAsynchronousServerSocketChannel(
      group: AsynchronousChannelGroup): AsynchronousServerSocketChannel = NoSockets.refuse()
  override def openAsynchronousSocketChannel(group: AsynchronousChannelGroup): AsynchronousSocketChannel =
    NoSockets.refuse()
}

object NoSockets {
  private val Why = "[no-sockets] this process opens no socket"

  private[confidentialspark] def refuse(): Nothing = throw new IOException(Why)

  /** The sockets of java.net as well, which do not ask a provider. */
  def closeFactories(): Unit = {
    val none = new SocketImplFactory {
      override def createSocketImpl(): SocketImpl = throw new SecurityException(Why)
    }
    Socket.setSocketImplFactory(none)
    ServerSocket.setSocketFactory(none)
    DatagramSocket.setDatagramSocketImplFactory(new DatagramSocketImplFactory {
      override def createDatagramSocketImpl(): DatagramSocketImpl = throw new SecurityException(Why)
    })
  }

  private def default(): SelectorProvider = {
    // `create` until Java 14, `get` since.
    val maker = Class.forName("sun.nio.ch.DefaultSelectorProvider").getMethods
      .find(method => method.getName == "get" || method.getName == "create")
    maker.get.invoke(null).asInstanceOf[SelectorProvider]
  }
}
