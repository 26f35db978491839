package confidentialspark

import java.nio.file.{Path, Paths}
import java.util.concurrent.TimeUnit.NANOSECONDS
import org.apache.spark.{SparkConf, SparkInternals}
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.execution.{QueryExecution, SQLExecution}

/** Runs the SQL of one job and writes its result rows; nothing else can be asked of it. See README.md.
  *
  * {{{Runner REQUEST.json --settings FILE --rows DIR [--input URI] [--job NAME]}}}
  *
  * It ends with 0, or with 65 (request or command line), 66 (input) or 80 (anything else), and then its last
  * line on the standard error is `FAILURE {…}`.
  */
object Runner {
  private val Options = Set("--job", "--settings", "--rows", "--input")
  private val MaxCauses = 20
  // Plans are trees, and Spark walks through them recursively.
  private val StackBytes = 16L * 1024 * 1024

  def main(arguments: Array[String]): Unit = {
    val work: Runnable = () => {
      val failure =
        try { run(arguments); None }
        catch {
          case refused: Refused => Some(refused)
          case error: Throwable => Some(unexpected(error))
        }
      // Whoever stopped the process knows why, and Spark's failure then is only its end.
      if (!SparkInternals.stopping) end(failure)
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
    Figures(parsed.request.job, elapsedMs(started), input, done).write(rows.resolve("figures.json"))
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
    Done(query.name, execution.analyzed.schema, found.length, bytes, elapsedMs(started))
  }

  private def elapsedMs(started: Long): Long = NANOSECONDS.toMillis(System.nanoTime() - started)

  def argumentInvalid(what: String, got: String, expected: String): Refused =
    Refused.request("argument-invalid", s"$what cannot be used.", got, expected, "correct how the runner is started")

  /** Spark's words go to the log, and the innermost cause, which says the most, into the last line. */
  private def unexpected(error: Throwable): Refused = {
    error.printStackTrace()
    Input.fault(error).getOrElse {
      val cause = causes(error).last
      val got = s"${cause.getClass.getName}: ${Queries.firstLine(cause)}"
      val action = "read Spark's messages above"
      new Refused(Refused.Failed, "spark-failed", "Spark failed.", got, action = action, cause = error)
    }
  }

  def causes(error: Throwable): Seq[Throwable] =
    Iterator.iterate(error)(_.getCause).takeWhile(_ != null).take(MaxCauses).toSeq
}
