// Tries every way to a socket that Java has, and prints what became of each; run by test_runner.py.
import java.net._
import java.nio.channels._

confidentialspark.NoSockets.closeFactories()

def attempt(name: String)(open: => Any): Unit = {
  val outcome =
    try { open; "opened" }
    catch { case error: Throwable => if (s"$error ${error.getCause}".contains("[no-sockets]")) "refused" else error.toString }
  println(s"$name: $outcome")
}

attempt("Socket")(new Socket("127.0.0.1", 9))
attempt("ServerSocket")(new ServerSocket(0))
attempt("DatagramSocket")(new DatagramSocket(0))
attempt("MulticastSocket")(new MulticastSocket(0))
attempt("SocketChannel")(SocketChannel.open())
attempt("ServerSocketChannel")(ServerSocketChannel.open())
attempt("DatagramChannel")(DatagramChannel.open())
attempt("DatagramChannel of a family")(DatagramChannel.open(StandardProtocolFamily.INET6))
attempt("AsynchronousSocketChannel")(AsynchronousSocketChannel.open())
attempt("AsynchronousServerSocketChannel")(AsynchronousServerSocketChannel.open())
attempt("HTTP")(new URL("http://127.0.0.1:9/").openStream())
attempt("Pipe")(Pipe.open())
attempt("Selector")(Selector.open())
