package confidentialspark

import io.netty.buffer.ByteBuf
import io.netty.channel.{ChannelHandlerContext, ChannelInboundHandlerAdapter}
import java.util.concurrent.TimeUnit.SECONDS
import org.slf4j.LoggerFactory
import scala.collection.JavaConverters._

/** Lets one message of a connection through before the connection is encrypted: the authentication's.
  *
  * To a server that is the client's challenge, an RPC request; to a client the server's response to it. Whoever
  * sends anything else, or anything more before the cipher is there, is disconnected without an answer. More
  * would be taken for a message of the authenticated peer, although it came in clear.
  *
  * Frames are Spark's: 8 bytes of length, themselves included, then one byte of type.
  *
  * @param server whether the other side opened the connection
  */
final class AuthenticationGate(server: Boolean) extends ChannelInboundHandlerAdapter {
  import AuthenticationGate._
  private var held: ByteBuf = _
  private var passed = false

  override def handlerAdded(context: ChannelHandlerContext): Unit = {
    val close: Runnable = () => if (!context.isRemoved) refuse(context, "silence")
    context.executor.schedule(close, PatienceSeconds, SECONDS)
  }

  override def handlerRemoved(context: ChannelHandlerContext): Unit = release()

  override def channelRead(context: ChannelHandlerContext, message: Any): Unit = message match {
    case bytes: ByteBuf if isEncrypted(context) =>
      context.pipeline.remove(this)
      context.fireChannelRead(bytes)
    case bytes: ByteBuf if passed || !context.channel.isActive => bytes.release(); refuse(context, "a second message")
    case bytes: ByteBuf => take(context, bytes)
    case other => refuse(context, other.getClass.getName)
  }

  private def take(context: ChannelHandlerContext, bytes: ByteBuf): Unit = {
    if (held == null) held = context.alloc.buffer(FrameHead)
    if (held.readableBytes + bytes.readableBytes > MaxFrame) {
      bytes.release()
      refuse(context, "too much")
    } else {
      held.writeBytes(bytes)
      bytes.release()
      if (held.readableBytes >= FrameHead) judge(context)
    }
  }

  private def judge(context: ChannelHandlerContext): Unit = {
    val length = held.getLong(held.readerIndex)
    val kind = held.getByte(held.readerIndex + FrameHead - 1)
    if (!isExpected(kind)) refuse(context, s"a message of type $kind")
    else if (length < FrameHead || length > MaxFrame) refuse(context, "a frame of unfit length")
    else if (held.readableBytes > length) refuse(context, "a second message")
    else if (held.readableBytes == length) {
      passed = true
      val frame = held
      held = null
      context.fireChannelRead(frame)
    }
  }

  private def isExpected(kind: Byte): Boolean =
    if (server) kind == RpcRequest else kind == RpcResponse || kind == RpcFailure

  private def isEncrypted(context: ChannelHandlerContext): Boolean = {
    val before = context.pipeline.names.asScala.takeWhile(_ != Name)
    before.exists(_.endsWith("TransportDecryption"))
  }

  private def refuse(context: ChannelHandlerContext, what: String): Unit = {
    release()
    if (context.channel.isOpen) {
      log.warn(s"A connection was closed before it was authenticated: $what")
      context.close()
    }
  }

  private def release(): Unit =
    if (held != null) {
      held.release()
      held = null
    }
}

object AuthenticationGate {
  val Name = "authenticationGate"
  private val log = LoggerFactory.getLogger(classOf[AuthenticationGate])
  private val FrameHead = 9
  // A challenge is a few hundred bytes.
  private val MaxFrame = 64 * 1024
  private val PatienceSeconds = 30L
  // `Message.Type` of Spark's protocol.
  private val RpcRequest: Byte = 3
  private val RpcResponse: Byte = 4
  private val RpcFailure: Byte = 5
}
