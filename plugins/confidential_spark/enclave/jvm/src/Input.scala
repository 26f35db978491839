package confidentialspark

import java.net.URI
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileStatus, Path}
import org.apache.parquet.column.Encoding
import org.apache.parquet.format.converter.ParquetMetadataConverter
import org.apache.parquet.hadoop.ParquetFileReader
import org.apache.parquet.hadoop.metadata.{ColumnChunkMetaData, CompressionCodecName, ParquetMetadata}
import org.apache.parquet.hadoop.util.HadoopInputFile
import org.apache.parquet.schema.MessageType
import org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter
import org.apache.spark.sql.types.DataType
import scala.collection.JavaConverters._
import scala.util.control.NonFatal

/** One input file and the types that its declared columns have in it, in the order of the declaration. */
final case class InputFile(path: Path, rows: Long, types: Seq[DataType])

/** The input's files, each judged by its own footer before Spark reads any of them.
  *
  * Only the declared columns count: of all others, nothing but the footer is looked at.
  *
  * @param types the one type that each column has for the queries
  */
final case class Input(table: Table, files: Seq[InputFile], types: Seq[DataType])

object Input {
  private val Codecs = {
    import CompressionCodecName._
    Set(UNCOMPRESSED, SNAPPY, GZIP, ZSTD, LZ4, LZ4_RAW)
  }
  private val Encodings = {
    import Encoding._
    Set(PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY, RLE, BIT_PACKED, DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY,
      DELTA_BYTE_ARRAY)
  }
  // A type, and those that hold each of its values; see `Input.common`.
  private val Widens: Map[String, Seq[String]] = Map(
    "tinyint" -> Seq("smallint", "int", "bigint", "float", "double", "string"),
    "smallint" -> Seq("int", "bigint", "float", "double", "string"),
    "int" -> Seq("bigint", "double", "string"),
    "bigint" -> Seq("string"),
    "float" -> Seq("double"),
    "timestamp_ntz" -> Seq("timestamp"))

  private val Readers = Seq("org.apache.parquet.", "org.apache.spark.sql.execution.datasources.parquet.")
  private val FileName = "/([^/\\s]+\\.parquet)".r

  /** @throws Refused `input-unreadable` or `input-schema` */
  def read(table: Table, uri: String, hadoop: Configuration): Input = {
    val files = list(uri, hadoop).map(status => judge(table, status, hadoop))
    val types = table.columns.indices.map(column => common(table, files, column))
    Input(table, files, types)
  }

  private def list(uri: String, hadoop: Configuration): Seq[FileStatus] = {
    val found =
      try {
        val folder = new Path(new URI(uri))
        folder.getFileSystem(hadoop).listStatus(folder).toSeq
      } catch { case NonFatal(error) => throw unreadable(uri, error) }
    val files = found.filterNot(file => "_.".contains(file.getPath.getName.head)).sortBy(_.getPath.getName)
    for (file <- files if !file.isFile || !file.getPath.getName.endsWith(".parquet"))
      throw unreadable(file.getPath.getName, "no *.parquet file")
    if (files.isEmpty) throw unreadable(uri, "no file")
    files
  }

  private def judge(table: Table, status: FileStatus, hadoop: Configuration): InputFile = {
    val name = status.getPath.getName
    val footer =
      try {
        val file = HadoopInputFile.fromStatus(status, hadoop)
        ParquetFileReader.readFooter(file, ParquetMetadataConverter.NO_FILTER)
      } catch { case NonFatal(error) => throw unreadable(name, error) }
    val schema = footer.getFileMetaData.getSchema
    val types = table.columns.map { case (column, kinds) =>
      val found = columnType(schema, column)
      val kind = found.fold(identity, _.simpleString)
      if (!kinds.contains(kind)) throw foreign(name, column, kind, kinds.mkString(" or "))
      found.right.get
    }
    requireReadable(name, table, footer)
    InputFile(status.getPath, footer.getBlocks.asScala.map(_.getRowCount).sum, types)
  }

  /** The column's type, or what it is instead of one. */
  private def columnType(schema: MessageType, column: String): Either[String, DataType] = {
    val found = schema.getFields.asScala.filter(_.getName == column)
    if (found.isEmpty) Left("missing")
    else if (found.size > 1) Left(s"${found.size} columns of this name")
    else
      try {
        val converter = new ParquetToSparkSchemaConverter(
          assumeBinaryIsString = false, assumeInt96IsTimestamp = true, caseSensitive = true,
          inferTimestampNTZ = true, nanosAsLong = false)
        Right(converter.convert(new MessageType(schema.getName, found.asJava)).head.dataType)
      } catch { case NonFatal(_) => Left(found.head.toString) }
  }

  private def requireReadable(name: String, table: Table, footer: ParquetMetadata): Unit = {
    val declared = table.columns.map(_._1).toSet
    for (block <- footer.getBlocks.asScala; chunk <- block.getColumns.asScala) {
      val column = chunk.getPath.toArray.head
      if (declared(column)) for (obstacle <- obstacle(chunk)) throw unreadable(s"$name, column $column", obstacle)
    }
  }

  private def obstacle(chunk: ColumnChunkMetaData): Option[String] =
    if (chunk.isEncrypted) Some("encrypted")
    else if (!Codecs(chunk.getCodec)) Some(s"codec ${chunk.getCodec}")
    else chunk.getEncodings.asScala.find(!Encodings(_)).map(encoding => s"encoding $encoding")

  /** The type that holds the column's values of all files: one of theirs, or else the first declared one. */
  private def common(table: Table, files: Seq[InputFile], column: Int): DataType = {
    val (name, kinds) = table.columns(column)
    val types = files.map(_.types(column)).distinct
    val holding = (types.map(_.simpleString) ++ kinds).find(holds(_, types))
    holding.map(DataType.fromDDL).getOrElse {
      val other = files.find(_.types(column) != types.head).get
      val expected = s"${types.head.simpleString}, as in ${files.head.path.getName}, or a type that holds both"
      throw foreign(other.path.getName, name, other.types(column).simpleString, expected)
    }
  }

  private def holds(kind: String, types: Seq[DataType]): Boolean =
    types.map(_.simpleString).forall(own => own == kind || Widens.getOrElse(own, Nil).contains(kind))

  private def foreign(file: String, column: String, got: String, expected: String): Refused =
    new Refused(Refused.BadInput, "input-schema", "The input does not have the columns that the job declares.",
      s"$file: $column is $got", s"$column: $expected", "compare the input's schema with the job's")

  /** The refusal of the input, where a failure of Spark came from reading it. */
  def fault(error: Throwable): Option[Refused] = {
    val causes = Runner.causes(error)
    val reading = causes.exists(_.getStackTrace.exists(frame => Readers.exists(frame.getClassName.startsWith)))
    val named = causes.map(cause => String.valueOf(cause.getMessage)).flatMap(FileName.findFirstMatchIn(_)).headOption
    if (reading) Some(unreadable(named.fold("a file")(_.group(1)), error)) else None
  }

  private def unreadable(what: String, error: Throwable): Refused = {
    val cause = Runner.causes(error).last
    unreadable(what, s"${cause.getClass.getSimpleName}: ${cause.getMessage}")
  }

  private def unreadable(what: String, got: String): Refused =
    new Refused(Refused.BadInput, "input-unreadable", "The input cannot be read.", s"$what: $got",
      "a folder of whole Parquet files", "correct the input")
}
