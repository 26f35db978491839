package confidentialspark

import com.fasterxml.jackson.core.{JsonFactory, JsonGenerator}
import java.io.StringWriter

/** The runner stops, and nothing it wrote may be used: the agent's error, made in the JVM.
  *
  * @param code stable short code
  * @param exit how the process ends, see `agent/exit_codes.py`
  */
final class Refused(
    val exit: Int,
    val code: String,
    val message: String,
    val got: String = "",
    val expected: String = "",
    val action: String = "",
    cause: Throwable = null)
    extends Exception(s"[$code] $message · got: $got · expected: $expected", cause) {

  /** The line that the agent looks for; ASCII, and short enough to pass its limit whole. */
  def line: String = {
    val text = new StringWriter
    val json = Refused.json.createGenerator(text)
    json.writeStartObject()
    json.writeStringField("code", code)
    json.writeStringField("message", message)
    for ((name, value) <- Seq("got" -> got, "expected" -> expected, "action" -> action) if value.nonEmpty)
      json.writeStringField(name, Refused.shorten(value))
    json.writeEndObject()
    json.close()
    s"${Refused.Prefix}$text"
  }
}

object Refused {
  val Prefix = "FAILURE "
  val BadRequest = 65
  val BadInput = 66
  val Failed = 80
  private val TextLimit = 200
  private val json = new JsonFactory().enable(JsonGenerator.Feature.ESCAPE_NON_ASCII)

  def request(code: String, message: String, got: String, expected: String, action: String): Refused =
    new Refused(BadRequest, code, message, got, expected, action)

  def notAQuery(message: String, got: String, expected: String): Refused =
    request("job-not-a-query", message, got, expected, "write the job with the SQL that the runner accepts")

  /** One line of bounded length, whatever the text holds. */
  def shorten(text: String): String = {
    val line = text.take(TextLimit + 1).map(c => if (Character.isISOControl(c)) '\uFFFD' else c)
    if (line.length <= TextLimit) line else line.take(TextLimit - 1) + "…"
  }
}
