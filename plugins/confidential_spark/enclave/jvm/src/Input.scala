package confidentialspark

import java.net.URI
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{FileStatus, Path}
import org.apache.parquet.column.Encoding
import org.apache.parquet.format.converter.ParquetMetadataConverter
import org.apache.parquet.hadoop.ParquetFileReader
import org.apache.parquet.hadoop.metadata.{ColumnChunkMetaData, CompressionCodecName, ParquetMetadata}
import org.apache.parquet.hadoop.util.HadoopInputFile
import org.apache.parquet.schema.{MessageType, Type}
import org.apache.parquet.schema.LogicalTypeAnnotation.{TimestampLogicalTypeAnnotation, TimeUnit}
import org.apache.parquet.schema.Type.Repetition.REPEATED
import org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter
import org.apache.spark.sql.types.{DataType, TimestampNTZType, TimestampType}
import scala.collection.JavaConverters._
import scala.util.control.NonFatal

/** A column in a file.
  *
  * @param kind the type that it has for the queries
  * @param nanoseconds whether it is a time that Spark reads as a whole number only
  */
final case class Stored(name: String, kind: DataType, nanoseconds: Boolean)

/** One input file and how it has the declared columns, in the order of the declaration; nothing for one that its
  * version does not have.
  */
final case class InputFile(path: Path, rows: Long, columns: Seq[Option[Stored]])

/** The input's files, each judged by its own footer before Spark reads any of them.
  *
  * Only the declared columns count: of all others, nothing but the footer is looked at.
  *
  * @param version the first of the table's that fits every file
  * @param types the one type that each column has for the queries
  */
final case class Input(table: Table, version: Version, files: Seq[InputFile], types: Seq[DataType])

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
    val footers = list(uri, hadoop).map(status => status -> footer(status, hadoop))
    val version = table.versions.find(version => footers.forall { case (_, footer) => fits(version, footer) })
      .getOrElse(throw foreign(table, footers))
    val files = footers.map { case (status, footer) => judge(version, status, footer) }
    val types = version.columns.indices.map(column => common(version.columns(column), files, column))
    Input(table, version, files, types)
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

  private def footer(status: FileStatus, hadoop: Configuration): ParquetMetadata =
    try {
      val file = HadoopInputFile.fromStatus(status, hadoop)
      ParquetFileReader.readFooter(file, ParquetMetadataConverter.NO_FILTER)
    } catch { case NonFatal(error) => throw unreadable(status.getPath.getName, error) }

  private def fits(version: Version, footer: ParquetMetadata): Boolean =
    problems(version, footer.getFileMetaData.getSchema).isEmpty

  /** What keeps a file from being of a version: column, what it is, and what it may be. */
  private def problems(version: Version, schema: MessageType): Seq[(String, String, String)] = {
    val columns = for {
      column <- version.columns
      source <- column.source
      problem <- problem(columnType(schema, source), column.kinds)
    } yield (source, problem, column.kinds.mkString(" or "))
    val marked = version.oneOf.isEmpty || version.oneOf.exists(named(schema, _).nonEmpty)
    if (marked) columns else columns :+ ((version.oneOf.mkString(" or "), "missing", "there"))
  }

  private def problem(found: Either[String, Stored], kinds: Seq[String]): Option[String] = found match {
    case Left(problem) => Some(problem)
    case Right(stored) =>
      val kind = stored.kind.simpleString
      if (kinds.exists(allowed => allowed == kind || kind.startsWith(s"$allowed("))) None else Some(kind)
  }

  private def judge(version: Version, status: FileStatus, footer: ParquetMetadata): InputFile = {
    val schema = footer.getFileMetaData.getSchema
    val columns = version.columns.map(_.source.map(columnType(schema, _).right.get))
    requireReadable(status.getPath.getName, columns.flatten.map(_.name).toSet, footer)
    InputFile(status.getPath, footer.getBlocks.asScala.map(_.getRowCount).sum, columns)
  }

  /** The columns of exactly this name, or else those of this name in any case. */
  private def named(schema: MessageType, column: String): Seq[Type] = {
    val fields = schema.getFields.asScala
    val exactly = fields.filter(_.getName == column)
    if (exactly.nonEmpty) exactly else fields.filter(_.getName.equalsIgnoreCase(column))
  }

  /** The column in a file, or what it is instead of one. */
  private def columnType(schema: MessageType, column: String): Either[String, Stored] = {
    val found = named(schema, column)
    if (found.isEmpty) Left("missing")
    else if (found.size > 1) Left(s"${found.size} columns of this name")
    else
      try Right(stored(found.head))
      catch { case NonFatal(_) => Left(found.head.toString) }
  }

  private def stored(field: Type): Stored = field.getLogicalTypeAnnotation match {
    case time: TimestampLogicalTypeAnnotation if time.getUnit == TimeUnit.NANOS && !field.isRepetition(REPEATED) =>
      Stored(field.getName, if (time.isAdjustedToUTC) TimestampType else TimestampNTZType, nanoseconds = true)
    case _ =>
      val converter = new ParquetToSparkSchemaConverter(
        assumeBinaryIsString = false, assumeInt96IsTimestamp = true, caseSensitive = true,
        inferTimestampNTZ = true, nanosAsLong = false)
      val kind = converter.convert(new MessageType("file", field)).head.dataType
      Stored(field.getName, kind, nanoseconds = false)
  }

  private def requireReadable(name: String, declared: Set[String], footer: ParquetMetadata): Unit =
    for (block <- footer.getBlocks.asScala; chunk <- block.getColumns.asScala) {
      val column = chunk.getPath.toArray.head
      if (declared(column)) for (obstacle <- obstacle(chunk)) throw unreadable(s"$name, column $column", obstacle)
    }

  private def obstacle(chunk: ColumnChunkMetaData): Option[String] =
    if (chunk.isEncrypted) Some("encrypted")
    else if (!Codecs(chunk.getCodec)) Some(s"codec ${chunk.getCodec}")
    else chunk.getEncodings.asScala.find(!Encodings(_)).map(encoding => s"encoding $encoding")

  /** The type that holds the column's values of all files: one of theirs, or else the first declared one. */
  private def common(column: Column, files: Seq[InputFile], index: Int): DataType = {
    val found = files.flatMap(file => file.columns(index).map(stored => file -> stored.kind))
    val types = found.map(_._2).distinct
    val holding = (types.map(_.simpleString) ++ column.kinds).find(holds(_, types))
    holding.map(DataType.fromDDL).getOrElse {
      val (other, kind) = found.find(_._2 != types.head).get
      val expected = s"${types.head.simpleString}, as in ${found.head._1.path.getName}, or a type that holds both"
      throw foreign(s"${other.path.getName}: ${column.source.get} is ${kind.simpleString}",
        s"${column.source.get}: $expected")
    }
  }

  private def holds(kind: String, types: Seq[DataType]): Boolean =
    types.map(_.simpleString).forall(own => own == kind || Widens.getOrElse(own, Nil).contains(kind))

  /** The refusal of files that are of no version, by the nearest one: that with the fewest differences. */
  private def foreign(table: Table, footers: Seq[(FileStatus, ParquetMetadata)]): Refused = {
    val found = table.versions.map { version =>
      version -> footers.map { case (status, footer) =>
        status.getPath.getName -> problems(version, footer.getFileMetaData.getSchema)
      }.filter(_._2.nonEmpty)
    }
    val (nearest, files) = found.minBy(_._2.map(_._2.size).sum)
    val (file, differences) = files.head
    val version = if (nearest.name.isEmpty) "" else s" (as of ${nearest.name}, the nearest version)"
    val got = differences.map { case (column, problem, _) => s"$column is $problem" }.mkString("; ")
    foreign(s"$file: $got$version", differences.map { case (column, _, right) => s"$column: $right" }.mkString("; "))
  }

  private def foreign(got: String, expected: String): Refused =
    new Refused(Refused.BadInput, "input-schema", "The input does not have the columns that the job declares.",
      got, expected, "compare the input's schema with the job's")

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
