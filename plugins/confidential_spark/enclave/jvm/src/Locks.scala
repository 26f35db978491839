package confidentialspark

import java.nio.channels.spi.{AsynchronousChannelProvider, SelectorProvider}
import java.nio.file.{Path, Paths}

/** What keeps strangers out of this JVM is there, or the JVM does nothing. */
object Locks {
  private val Server = "org.apache.spark.network.server.TransportServer"
  private val Context = "org.apache.spark.network.TransportContext"

  /** No server, and no socket of any kind.
    *
    * @throws Refused `lock-missing`
    */
  def requireNoSockets(): Unit = {
    requireOrigin(Server, "no-server.jar")
    requireProvider("java.nio.channels.spi.SelectorProvider", SelectorProvider.provider(), classOf[NoSockets])
    requireProvider(
      "java.nio.channels.spi.AsynchronousChannelProvider",
      AsynchronousChannelProvider.provider(),
      classOf[NoAsynchronousSockets])
    NoSockets.closeFactories()
  }

  /** No message but the authentication's before a connection is encrypted.
    *
    * @throws Refused `lock-missing`
    */
  def requireGate(): Unit = requireOrigin(Context, "gate.jar")

  private def requireOrigin(name: String, jar: String): Unit = {
    // Not initialised: nothing of a class that must not be here may run.
    val found = origin(Class.forName(name, false, getClass.getClassLoader))
    val expected = origin(getClass).map(_.resolveSibling(jar))
    if (found.isEmpty || found != expected)
      throw missing(name.split('.').last, found.fold("unknown")(_.toString), expected.fold(jar)(_.toString))
  }

  private def requireProvider(property: String, provider: => AnyRef, expected: Class[_]): Unit = {
    val found = try provider.getClass.getName catch { case error: Error => error.toString }
    if (found != expected.getName) throw missing(property, found, expected.getName)
  }

  private def origin(kind: Class[_]): Option[Path] =
    for {
      domain <- Option(kind.getProtectionDomain)
      source <- Option(domain.getCodeSource)
      location <- Option(source.getLocation)
    } yield Paths.get(location.toURI)

  private def missing(what: String, got: String, expected: String): Refused =
    Refused.request("lock-missing", s"$what is not the runner's own; Spark would open sockets.", got, expected,
      "start the runner with its own jars, first on the class path")
}
