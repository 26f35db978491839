package confidentialspark

import com.fasterxml.jackson.core.{JsonFactory, JsonGenerator}
import java.io.OutputStream
import java.nio.file.{Files, Path}
import java.nio.file.StandardOpenOption.{CREATE_NEW, WRITE}
import java.time.{Instant, LocalDate, LocalDateTime, ZoneOffset}
import java.time.format.DateTimeFormatter
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.util.DateTimeUtils.microsToInstant
import org.apache.spark.sql.types._

/** Writes a result as JSON lines, one object a row: what JSON cannot say exactly is refused or a text. */
object Rows {
  val MaxBytes: Long = 256L * 1024 * 1024
  // ASCII, because some readers of lines also end them at U+2028.
  private val factory = new JsonFactory().enable(JsonGenerator.Feature.ESCAPE_NON_ASCII)
  private val Micros = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSSSSS")

  /** @throws Refused `job-not-a-query`: a column that the finishing program could not read */
  def requireColumns(query: String, schema: StructType): Unit = {
    val names = schema.fieldNames
    if (names.distinct.length != names.length)
      throw Refused.notAQuery(s"$query has two columns of one name.", names.mkString(", "), "each name once")
    for (field <- schema if !isPlain(field.dataType))
      throw Refused.notAQuery(s"$query has a column that is no plain value.",
        s"${field.name} ${field.dataType.simpleString}", "numbers, texts, dates, timestamps and truth values")
  }

  private def isPlain(kind: DataType): Boolean = kind match {
    case BooleanType | ByteType | ShortType | IntegerType | LongType | FloatType | DoubleType | StringType => true
    case DateType | TimestampType | TimestampNTZType | NullType | _: DecimalType => true
    case _ => false
  }

  /** Write `rows` to a new file and return its size.
    *
    * @throws Refused `rows-too-many`, `rows-too-large`, `row-not-finite`
    */
  def write(query: Query, schema: StructType, rows: Array[InternalRow], file: Path): Long = {
    if (rows.length > query.maxRows) {
      val expected = s"at most ${query.maxRows}"
      throw failed("rows-too-many", s"${query.name} has more rows than it may have.", "more", expected)
    }
    val stream = new Bounded(query.name, Files.newOutputStream(file, CREATE_NEW, WRITE))
    try {
      val json = factory.createGenerator(stream)
      json.setRootValueSeparator(null)
      for (row <- rows) {
        writeRow(query.name, json, schema, row)
        json.writeRaw('\n')
      }
      json.close()
      stream.bytes
    } finally stream.close()
  }

  private def writeRow(query: String, json: JsonGenerator, schema: StructType, row: InternalRow): Unit = {
    json.writeStartObject()
    for ((field, index) <- schema.zipWithIndex) {
      json.writeFieldName(field.name)
      if (row.isNullAt(index)) json.writeNull()
      else writeValue(s"$query.${field.name}", json, field.dataType, row, index)
    }
    json.writeEndObject()
  }

  private def writeValue(what: String, json: JsonGenerator, kind: DataType, row: InternalRow, index: Int): Unit =
    kind match {
      case BooleanType => json.writeBoolean(row.getBoolean(index))
      case ByteType => json.writeNumber(row.getByte(index).toInt)
      case ShortType => json.writeNumber(row.getShort(index).toInt)
      case IntegerType => json.writeNumber(row.getInt(index))
      case LongType => json.writeNumber(row.getLong(index))
      case FloatType => json.writeNumber(finite(what, row.getFloat(index).toDouble))
      case DoubleType => json.writeNumber(finite(what, row.getDouble(index)))
      case decimal: DecimalType =>
        json.writeString(row.getDecimal(index, decimal.precision, decimal.scale).toJavaBigDecimal.toPlainString)
      case StringType => json.writeString(row.getUTF8String(index).toString)
      case DateType => json.writeString(LocalDate.ofEpochDay(row.getInt(index)).toString)
      case TimestampType => json.writeString(text(microsToInstant(row.getLong(index))) + "Z")
      case TimestampNTZType => json.writeString(text(microsToInstant(row.getLong(index))))
    }

  private def text(instant: Instant): String = Micros.format(LocalDateTime.ofInstant(instant, ZoneOffset.UTC))

  private def finite(what: String, value: Double): Double =
    if (java.lang.Double.isFinite(value)) value
    else throw failed("row-not-finite", s"$what is no number.", value.toString, "finite numbers, or NULL")

  private def failed(code: String, message: String, got: String, expected: String): Refused =
    new Refused(Refused.Failed, code, message, got, expected, "correct the job's query or its limit")

  private final class Bounded(query: String, stream: OutputStream) extends OutputStream {
    var bytes = 0L
    override def write(byte: Int): Unit = { count(1); stream.write(byte) }
    override def write(buffer: Array[Byte], offset: Int, length: Int): Unit = {
      count(length)
      stream.write(buffer, offset, length)
    }
    override def close(): Unit = stream.close()
    private def count(more: Int): Unit = {
      bytes += more
      if (bytes > MaxBytes)
        throw failed("rows-too-large", s"$query has more bytes than it may have.", "more", s"at most $MaxBytes")
    }
  }
}
