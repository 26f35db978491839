package confidentialspark

import com.fasterxml.jackson.core.JsonFactory
import java.io.{IOException, StringWriter}
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path, Paths}
import java.nio.file.StandardOpenOption.{CREATE_NEW, WRITE}
import java.util.concurrent.TimeUnit.NANOSECONDS
import org.apache.spark.{SparkConf, SparkInternals}
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.execution.{QueryExecution, SQLExecution}
import scala.util.control.NonFatal

/** Runs the SQL of one job and writes its result rows; nothing else can be asked of it.
  *
  * {{{Runner REQUEST.json --job NAME --settings FILE --rows DIR [--input URI]}}}
  *
  * It ends with 0, or with one line `FAILURE {…}` last on the standard error and 65 (request or command line), 66 (input) or
  * 80 (anything else).
  */
object Runner {
  private val Options = Set("--job", "--settings", "--rows", "--input")
  // Plans are trees, and Spark walks through them recursively.
  private val StackBytes = 16L * 1024 * 1024

  private final case class Done(query: Query, execution: QueryExecution, rows: Int, bytes: Long, durationMs: Long)

  def main(arguments: Array[String]): Unit = {
    val work: Runnable = () => {
      val failure =
        try { run(arguments); None }
        catch {
          case refused: Refused => Some(refused)
          case error: Throwable => Some(unexpected(error))
        }
      end(failure)
    }
    new Thread(null, work, "runner", StackBytes).start()
  }

  /** End the process at once: nothing that Spark or a library left running may delay or change that. */
  def end(refused: Refused): Nothing = end(Some(refused))

  private def end(failure: Option[Refused]): Nothing = {
    System.out.flush()
    for (refused <- failure) System.err.println(refused.line)
    System.err.flush()
    Runtime.getRuntime.halt(failure.fold(0)(_.exit))
    throw new IllegalStateException("halted")
  }

  private def run(arguments: Array[String]): Unit = {
    val (file, options) = parsed(arguments.toList)
    val request = Request.read(file)
    requireJob(request, options)
    val settings = Settings.read(path(options, "--settings"), request.job)
    val inOneProcess = Settings.inOneProcess(settings)
    if (inOneProcess) Locks.requireNoSockets() else Locks.requireGate()
    val parsedRequest = new ParsedRequest(request)
    val input = readInput(request, options, settings)
    val spark = SparkSession.builder().config(settings).getOrCreate()
    try write(spark, parsedRequest, input, path(options, "--rows"))
    finally if (!inOneProcess) spark.stop() // So that its executors end; one process has nobody to tell.
  }

  private def write(spark: SparkSession, parsed: ParsedRequest, input: Option[Input], rows: Path): Unit = {
    val started = System.nanoTime()
    val executions = new Queries(spark, parsed, input).executions
    val progress = new Progress(spark.sparkContext)
    val done = executions.map { case (query, execution) => execute(query, execution, rows) }
    progress.close()
    write(rows.resolve("figures.json"), figures(parsed.request, input, done, elapsedMs(started)))
  }

  private def parsed(arguments: List[String]): (Path, Map[String, String]) = arguments match {
    case file :: rest if !file.startsWith("--") && rest.size % 2 == 0 =>
      val options = rest.grouped(2).map { case Seq(name, value) => name -> value }.toSeq
      for ((name, _) <- options if !Options(name) || options.count(_._1 == name) > 1)
        throw argumentInvalid("the command line", name, Options.mkString(", ") + ", each once")
      (Paths.get(file), options.toMap)
    case _ => throw argumentInvalid("the command line", arguments.mkString(" "), "REQUEST.json --job NAME …")
  }

  private def path(options: Map[String, String], name: String): Path =
    Paths.get(options.getOrElse(name, throw argumentInvalid(name, "nothing", "a path")))

  private def requireJob(request: Request, options: Map[String, String]): Unit =
    for (job <- options.get("--job") if job != request.job)
      throw argumentInvalid("the request's job", request.job, job)

  private def readInput(request: Request, options: Map[String, String], settings: SparkConf): Option[Input] =
    (request.table, options.get("--input")) match {
      case (Some(table), Some(uri)) => Some(Input.read(table, uri, SparkInternals.hadoopConfiguration(settings)))
      case (None, None) => None
      case (Some(table), None) => throw argumentInvalid("--input", "nothing", s"where ${table.name} is")
      case (None, Some(uri)) => throw argumentInvalid("--input", uri, "nothing: the request declares no input")
    }

  private def execute(query: Query, execution: QueryExecution, rows: Path): Done = {
    val started = System.nanoTime()
    val found = Queries.withinStack(query.name) {
      SQLExecution.withNewExecutionId(execution, Some(query.name))(execution.executedPlan.executeCollect())
    }
    val bytes = Rows.write(query, execution.analyzed.schema, found, rows.resolve(s"${query.name}.jsonl"))
    Done(query, execution, found.length, bytes, elapsedMs(started))
  }

  private def figures(request: Request, input: Option[Input], done: Seq[Done], durationMs: Long): String = {
    val text = new StringWriter
    val json = new JsonFactory().createGenerator(text)
    json.writeStartObject()
    json.writeNumberField("v", 1)
    json.writeStringField("job", request.job)
    json.writeNumberField("duration_ms", durationMs)
    json.writeObjectFieldStart("input")
    for (found <- input) {
      json.writeObjectFieldStart(found.table.name)
      json.writeNumberField("files", found.files.size)
      json.writeNumberField("rows", found.files.map(_.rows).sum)
      json.writeObjectFieldStart("columns")
      for (((name, _), kind) <- found.table.columns.zip(found.types)) json.writeStringField(name, kind.simpleString)
      json.writeEndObject()
      json.writeEndObject()
    }
    json.writeEndObject()
    json.writeObjectFieldStart("queries")
    for (query <- done) {
      json.writeObjectFieldStart(query.query.name)
      json.writeNumberField("rows", query.rows)
      json.writeNumberField("bytes", query.bytes)
      json.writeNumberField("duration_ms", query.durationMs)
      json.writeObjectFieldStart("columns")
      for (field <- query.execution.analyzed.schema) json.writeStringField(field.name, field.dataType.simpleString)
      json.writeEndObject()
      json.writeEndObject()
    }
    json.writeEndObject()
    json.writeEndObject()
    json.close()
    text.toString + "\n"
  }

  private def write(file: Path, text: String): Unit = Files.write(file, text.getBytes(UTF_8), CREATE_NEW, WRITE)

  private def elapsedMs(started: Long): Long = NANOSECONDS.toMillis(System.nanoTime() - started)

  def argumentInvalid(what: String, got: String, expected: String): Refused =
    Refused.request("argument-invalid", s"$what cannot be used.", got, expected, "correct how the runner is started")

  /** Spark's words go to the log, and the innermost cause, which says the most, into the last line. */
  private def unexpected(error: Throwable): Refused = {
    error.printStackTrace()
    Input.fault(error).getOrElse {
      val cause = causes(error).last
      new Refused(Refused.Failed, "spark-failed", "Spark failed.",
        s"${cause.getClass.getName}: ${Queries.firstLine(cause)}", action = "read Spark's messages above", cause = error)
    }
  }

  def causes(error: Throwable): Seq[Throwable] = Iterator.iterate(error)(_.getCause).takeWhile(_ != null).take(20).toSeq
}
