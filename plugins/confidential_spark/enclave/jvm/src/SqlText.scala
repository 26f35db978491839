package confidentialspark

/** Bounds of a statement's text. The parser's time grows with the square of the brackets that are open. */
object SqlText {
  val MaxLength: Int = 64 * 1024
  val MaxBrackets = 100
  private val Quotes = "'\"`"

  /** @throws Refused `job-not-a-query` */
  def require(name: String, sql: String): Unit = {
    if (sql.length > MaxLength)
      throw Refused.notAQuery(s"$name is too long.", s"${sql.length} characters", s"at most $MaxLength")
    if (openBrackets(sql) > MaxBrackets)
      throw Refused.notAQuery(s"$name is nested too deeply.", "more brackets", s"at most $MaxBrackets open at once")
  }

  /** The most brackets open at once, those in quotes left out; in comments they count. */
  private def openBrackets(sql: String): Int = {
    var quote = ' '
    var open, most = 0
    var index = 0
    while (index < sql.length) {
      val character = sql(index)
      if (quote != ' ') {
        if (character == '\\' && quote != '`') index += 1
        else if (character == quote) quote = ' '
      } else if (Quotes.indexOf(character) >= 0) quote = character
      else if (character == '(') { open += 1; most = most.max(open) }
      else if (character == ')') open -= 1
      index += 1
    }
    most
  }
}
