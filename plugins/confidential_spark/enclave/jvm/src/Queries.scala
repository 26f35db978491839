package confidentialspark

import org.apache.spark.sql.{Column => SqlColumn, DataFrame, SparkSession}
import org.apache.spark.sql.catalyst.TableIdentifier
import org.apache.spark.sql.catalyst.analysis.NameParameterizedQuery
import org.apache.spark.sql.catalyst.catalog.{CatalogStorageFormat, CatalogTable, CatalogTableType}
import org.apache.spark.sql.catalyst.catalog.TemporaryViewRelation
import org.apache.spark.sql.catalyst.expressions.Literal
import org.apache.spark.sql.catalyst.parser.CatalystSqlParser
import org.apache.spark.sql.catalyst.plans.logical.{LocalLimit, LogicalPlan}
import org.apache.spark.sql.execution.QueryExecution
import org.apache.spark.sql.execution.datasources.{HadoopFsRelation, InMemoryFileIndex}
import org.apache.spark.sql.execution.datasources.parquet.ParquetFileFormat
import org.apache.spark.sql.functions.{col, expr, lit}
import org.apache.spark.sql.sources.BaseRelation
import org.apache.spark.sql.types.{LongType, StructField, StructType}
import scala.collection.mutable
import scala.util.control.NonFatal

/** The request's SQL, parsed: refused here, before Spark is started, where its form alone is at fault. */
final class ParsedRequest(val request: Request) {
  private val sizes = mutable.Map.empty[String, Long]
  val views: Seq[(String, LogicalPlan)] = request.views.map(view => view.name -> parsed(view.name, view.sql))
  val queries: Seq[(Query, LogicalPlan)] = request.queries.map(query => query -> parsed(query.name, query.sql))

  /** Catalyst's own parser knows no statement of Spark's session, and substitutes no variables. */
  private def parsed(name: String, sql: String): LogicalPlan = {
    SqlText.require(name, sql)
    val plan = Queries.refusing(name, "cannot be parsed", "one query of Spark's SQL") {
      CatalystSqlParser.parsePlan(sql)
    }
    sizes(name) = new ClosedList(name, _ => false, sizes.toMap).require(plan)
    plan
  }
}

/** The request's tables, views and queries in one session; nothing runs until the caller executes a plan. */
final class Queries(spark: SparkSession, parsed: ParsedRequest, input: Option[Input]) {
  private val relations = mutable.Set.empty[BaseRelation]
  private val arguments = parsed.request.parameters.map { case (name, value) => name -> Literal(value) }

  for (found <- input) register(found.table.name, read(found).queryExecution.analyzed)
  for ((name, plan) <- parsed.views) register(name, analyzed(name, plan).analyzed)

  /** What to execute for each query: at most one row more than its result may have. */
  val executions: Seq[(Query, QueryExecution)] = parsed.queries.map { case (query, plan) =>
    val found = analyzed(query.name, plan)
    Rows.requireColumns(query.name, found.analyzed.schema)
    query -> spark.sessionState.executePlan(LocalLimit(Literal(query.maxRows + 1), found.analyzed))
  }

  private def analyzed(name: String, plan: LogicalPlan): QueryExecution = {
    val expected = "a query over the declared input and the request's views"
    val execution = Queries.refusing(name, "does not fit its tables", expected) {
      val execution = spark.sessionState.executePlan(bound(plan))
      execution.assertAnalyzed()
      execution
    }
    new ClosedList(name, relations.contains).require(execution.analyzed)
    execution
  }

  private def bound(plan: LogicalPlan): LogicalPlan =
    if (arguments.isEmpty) plan else NameParameterizedQuery(plan, arguments)

  private def register(name: String, plan: LogicalPlan): Unit = {
    val description = CatalogTable(
      TableIdentifier(name), CatalogTableType.VIEW, CatalogStorageFormat.empty, plan.schema,
      properties = Map("view.storingAnalyzedPlan" -> "true"))
    spark.sessionState.catalog
      .createTempView(name, TemporaryViewRelation(description, Some(plan)), overrideIfExists = false)
  }

  /** Files of the same columns are read together; where files differ, each group is cast to the common types. */
  private def read(input: Input): DataFrame = {
    val groups = input.files.groupBy(_.columns).toSeq.sortBy(_._2.head.path.toString)
    groups.map { case (columns, files) => readAlike(input, columns, files) }.reduce(_ unionAll _)
  }

  private def readAlike(input: Input, columns: Seq[Option[Stored]], files: Seq[InputFile]): DataFrame = {
    val present = columns.flatten
    val schema = StructType(present.map { stored =>
      StructField(stored.name, if (stored.nanoseconds) LongType else stored.kind)
    })
    // Without it, folders such as `puYear=2018` on the way would become columns.
    val options = Map("recursiveFileLookup" -> "true")
    val index = new InMemoryFileIndex(spark, files.map(_.path), options, Some(schema))
    val relation = HadoopFsRelation(index, new StructType, schema, None, new ParquetFileFormat, options)(spark)
    relations += relation
    val selected = input.version.columns.zip(columns).zip(input.types).map { case ((declared, stored), kind) =>
      stored.fold(lit(null))(value).cast(kind).as(declared.name)
    }
    spark.baseRelationToDataFrame(relation).select(selected: _*)
  }

  /** The column's values; a time in nanoseconds is rounded down to microseconds, which Spark can hold. */
  private def value(stored: Stored): SqlColumn = {
    val name = s"`${stored.name}`"
    if (stored.nanoseconds) expr(s"timestamp_micros(($name - pmod($name, 1000)) div 1000)") else col(name)
  }
}

object Queries {
  def firstLine(error: Throwable): String = {
    val lines = String.valueOf(error.getMessage).split('\n').map(_.trim).filter(_.nonEmpty)
    lines.headOption.getOrElse(error.getClass.getName)
  }

  /** Take every failure of some work for the SQL's own fault. */
  def refusing[T](name: String, fault: String, expected: String)(work: => T): T =
    try withinStack(name)(work)
    catch {
      case refused: Refused => throw refused
      case NonFatal(error) => throw Refused.notAQuery(s"$name $fault.", firstLine(error), expected)
    }

  def withinStack[T](name: String)(work: => T): T =
    try work
    catch {
      case _: StackOverflowError =>
        throw Refused.notAQuery(s"$name is nested too deeply.", "a stack overflow", "shallower SQL")
    }
}
