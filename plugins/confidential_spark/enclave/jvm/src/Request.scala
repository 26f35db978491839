package confidentialspark

import com.fasterxml.jackson.core.{JsonFactory, JsonProcessingException, StreamReadConstraints, StreamReadFeature}
import com.fasterxml.jackson.databind.{DeserializationFeature, JsonNode, ObjectMapper}
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path}
import scala.collection.JavaConverters._

/** A column that the queries read.
  *
  * @param source its name in the files; without one it is null in every row
  * @param kinds the types that it may have in a file, and the first is that of a column without a source
  */
final case class Column(name: String, source: Option[String], kinds: Seq[String])

/** One layout of a table's files.
  *
  * @param name empty where the table has one layout only
  * @param oneOf columns that tell this layout from others of the same columns: a file has at least one of them
  */
final case class Version(name: String, columns: Seq[Column], oneOf: Seq[String])

/** An input table, in each layout that its files may have. The first that fits all files is theirs. */
final case class Table(name: String, versions: Seq[Version])

/** An intermediate view, for later statements to read. */
final case class ViewText(name: String, sql: String)

/** @param maxRows a result with more rows is refused */
final case class Query(name: String, sql: String, maxRows: Int)

/** What a job asks of Spark, as its `query` command prints it. */
final case class Request(
    job: String,
    table: Option[Table],
    parameters: Map[String, Any],
    views: Seq[ViewText],
    queries: Seq[Query])

/** Reads a request as the output of a program that may print anything.
  *
  * One JSON object, strict: bounded, no key twice, no unknown member, nothing after it.
  */
object Request {
  val MaxBytes: Int = 1024 * 1024
  val MaxRows = 1000000
  private val MaxColumns = 256
  private val MaxParameters = 64
  private val MaxStatements = 32
  private val Name = "[a-z][a-z0-9_]{0,63}".r
  private val ColumnName = "[A-Za-z_][A-Za-z0-9_]{0,127}".r
  private val VersionName = "[a-z][a-z0-9-]{0,63}".r
  private val Kinds = "boolean tinyint smallint int bigint float double string date timestamp timestamp_ntz"
  private val Decimal = "decimal(\\([0-9]{1,2},[0-9]{1,2}\\))?".r

  private val mapper = {
    val limits = StreamReadConstraints.builder().maxNestingDepth(16).maxNumberLength(40).build()
    val factory = JsonFactory.builder().streamReadConstraints(limits)
      .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build()
    new ObjectMapper(factory).enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
  }

  /** @throws Refused `request-invalid` or `argument-invalid` */
  def read(path: Path): Request = {
    val bytes =
      try {
        val stream = Files.newInputStream(path)
        try stream.readNBytes(MaxBytes + 1)
        finally stream.close()
      } catch { case error: IOException => throw invalid("the request", error.toString, "a readable file") }
    parse(bytes)
  }

  /** @throws Refused `request-invalid` or `argument-invalid` */
  def parse(bytes: Array[Byte]): Request = {
    if (bytes.length > MaxBytes) throw invalid("the request", "more bytes", s"at most $MaxBytes bytes")
    val root = members(json(bytes), "the request", Set("v", "job", "queries"), Set("input", "parameters", "views"))
    if (!root("v").isInt || root("v").intValue != 1) throw invalid("v", root("v").toString, "1")
    val request = Request(
      named(root("job"), "job"),
      root.get("input").flatMap(table),
      root.get("parameters").map(parameters).getOrElse(Map.empty),
      root.get("views").map(array(_, "views", 0).map(view)).getOrElse(Nil),
      array(root("queries"), "queries", 1).map(query))
    val names = request.table.map(_.name).toSeq ++ request.views.map(_.name) ++ request.queries.map(_.name)
    requireOnce(names, "names of tables, views and queries")
    request
  }

  private def json(bytes: Array[Byte]): JsonNode =
    try {
      // Jackson would guess UTF-16 and UTF-32 from the first bytes.
      val text = UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString
      Option(mapper.readTree(text)).getOrElse(throw invalid("the request", "nothing", "one JSON object"))
    } catch {
      case error: JsonProcessingException => throw invalid("the request", error.getOriginalMessage, "one JSON object")
      case error: IOException => throw invalid("the request", error.toString, "UTF-8")
    }

  private def table(node: JsonNode): Option[Table] = {
    val tables = fields(node, "input")
    if (tables.size > 1) throw invalid("input", s"${tables.size} tables", "at most one")
    tables.headOption.map { case (name, layout) =>
      requireName(name, Name, "input")
      val versions = if (layout.isArray) array(layout, name, 1).map(version) else Seq(onlyVersion(layout, name))
      requireOnce(versions.map(_.name), "names of versions")
      for (other <- versions if other.columns.map(_.name) != versions.head.columns.map(_.name))
        throw invalid(other.name, "other columns", s"those of ${versions.head.name}, in their order")
      Table(name, versions)
    }
  }

  private def onlyVersion(node: JsonNode, table: String): Version =
    Version("", columns(node, table) { (column, kinds) => Column(column, Some(column), types(kinds, column)) }, Nil)

  private def version(node: JsonNode): Version = {
    val found = members(node, "a version", Set("name", "columns"), Set("one_of"))
    val name = text(found("name"), "name")
    requireName(name, VersionName, "a version")
    val declared = columns(found("columns"), name) { (column, node) =>
      val source = members(node, column, Set("types"), Set("from"))
      Column(column, source.get("from").map(columnName(_, column)), types(source("types"), column))
    }
    Version(name, declared, found.get("one_of").map(array(_, name, 1).map(columnName(_, name))).getOrElse(Nil))
  }

  private def columns(node: JsonNode, what: String)(column: (String, JsonNode) => Column): Seq[Column] = {
    val declared = fields(node, what).map { case (name, described) =>
      requireName(name, ColumnName, what)
      column(name, described)
    }
    if (declared.isEmpty || declared.size > MaxColumns)
      throw invalid(what, s"${declared.size} columns", s"1 to $MaxColumns")
    declared
  }

  private def columnName(node: JsonNode, what: String): String = {
    val name = text(node, what)
    requireName(name, ColumnName, what)
    name
  }

  private def types(node: JsonNode, column: String): Seq[String] =
    array(node, column, 1).map(kind => columnType(text(kind, column), column))

  private def columnType(kind: String, column: String): String =
    if (Kinds.split(' ').contains(kind) || Decimal.pattern.matcher(kind).matches) kind
    else throw invalid(column, kind, s"$Kinds decimal(p,s)")

  private def parameters(node: JsonNode): Map[String, Any] = {
    val values = fields(node, "parameters")
    if (values.size > MaxParameters) throw invalid("parameters", values.size.toString, s"at most $MaxParameters")
    values.map { case (name, value) =>
      requireName(name, Name, "parameters")
      name -> parameter(name, value)
    }.toMap
  }

  /** The value's own type is the parameter's: STRING, BIGINT, DOUBLE or BOOLEAN. */
  private def parameter(name: String, value: JsonNode): Any =
    if (value.isTextual) value.textValue
    else if (value.isBoolean) value.booleanValue
    else if (value.isIntegralNumber && value.canConvertToLong) value.longValue
    else if (value.isFloatingPointNumber && !value.doubleValue.isInfinite) value.doubleValue
    else
      throw Refused.request(
        "argument-invalid",
        s"The parameter $name has no type of SQL.",
        value.toString,
        "a text, a whole number of 64 bits, a finite number, or a truth value",
        "correct the job's query command")

  private def view(node: JsonNode): ViewText = {
    val view = members(node, "a view", Set("name", "sql"), Set.empty)
    ViewText(named(view("name"), "name"), text(view("sql"), "sql"))
  }

  private def query(node: JsonNode): Query = {
    val query = members(node, "a query", Set("name", "sql", "max_rows"), Set.empty)
    val rows = query("max_rows")
    if (!rows.isInt || rows.intValue < 1 || rows.intValue > MaxRows)
      throw invalid("max_rows", rows.toString, s"1 to $MaxRows")
    Query(named(query("name"), "name"), text(query("sql"), "sql"), rows.intValue)
  }

  private def members(node: JsonNode, what: String, needed: Set[String], more: Set[String]): Map[String, JsonNode] = {
    val found = fields(node, what).toMap
    for (name <- needed -- found.keySet) throw invalid(what, s"no $name", needed.mkString(", "))
    for (name <- found.keySet -- needed -- more) throw invalid(what, s"member $name", (needed ++ more).mkString(", "))
    found
  }

  private def fields(node: JsonNode, what: String): Seq[(String, JsonNode)] = {
    if (!node.isObject) throw invalid(what, node.getNodeType.toString, "a JSON object")
    node.fields.asScala.map(entry => entry.getKey -> entry.getValue).toSeq
  }

  private def array(node: JsonNode, what: String, fewest: Int): Seq[JsonNode] = {
    if (!node.isArray || node.size < fewest || node.size > MaxStatements)
      throw invalid(what, s"${node.getNodeType} of ${node.size}", s"an array of $fewest to $MaxStatements")
    node.elements.asScala.toSeq
  }

  private def text(node: JsonNode, what: String): String =
    if (node.isTextual) node.textValue else throw invalid(what, node.getNodeType.toString, "a text")

  private def named(node: JsonNode, what: String): String = {
    val name = text(node, what)
    requireName(name, Name, what)
    name
  }

  private def requireName(name: String, form: scala.util.matching.Regex, what: String): Unit =
    if (!form.pattern.matcher(name).matches) throw invalid(what, s"the name $name", form.regex)

  private def requireOnce(names: Seq[String], what: String): Unit =
    if (names.distinct.size != names.size) throw invalid(what, names.mkString(", "), "each name once")

  private def invalid(what: String, got: String, expected: String): Refused =
    Refused.request("request-invalid", s"$what of the job's request cannot be used.", got, expected,
      "correct the job's query command")
}
