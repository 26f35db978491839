package confidentialspark

import com.fasterxml.jackson.core.{JsonFactory, JsonGenerator}
import java.nio.file.{Files, Path}
import java.nio.file.StandardOpenOption.{CREATE_NEW, WRITE}
import org.apache.spark.sql.types.StructType

/** One query's result, which is in its file. */
final case class Done(query: String, schema: StructType, rows: Int, bytes: Long, durationMs: Long)

/** What is to be said of a run: `figures.json`, written last, so that rows without it are not whole. */
final case class Figures(job: String, durationMs: Long, input: Option[Input], queries: Seq[Done]) {
  def write(file: Path): Unit = {
    val stream = Files.newOutputStream(file, CREATE_NEW, WRITE)
    val json = new JsonFactory().enable(JsonGenerator.Feature.ESCAPE_NON_ASCII).createGenerator(stream)
    nested(json) {
      json.writeNumberField("v", 1)
      json.writeStringField("job", job)
      json.writeNumberField("duration_ms", durationMs)
      nested(json, "input")(input.foreach(writeInput(json, _)))
      nested(json, "queries")(queries.foreach(writeQuery(json, _)))
    }
    json.writeRaw('\n')
    json.close()
  }

  private def writeInput(json: JsonGenerator, input: Input): Unit = nested(json, input.table.name) {
    if (input.version.name.nonEmpty) json.writeStringField("version", input.version.name)
    json.writeNumberField("files", input.files.size)
    json.writeNumberField("rows", input.files.map(_.rows).sum)
    val columns = input.version.columns.map(_.name).zip(input.types.map(_.simpleString))
    writeColumns(json, columns)
  }

  private def writeQuery(json: JsonGenerator, done: Done): Unit = nested(json, done.query) {
    json.writeNumberField("rows", done.rows)
    json.writeNumberField("bytes", done.bytes)
    json.writeNumberField("duration_ms", done.durationMs)
    writeColumns(json, done.schema.map(field => field.name -> field.dataType.simpleString))
  }

  private def writeColumns(json: JsonGenerator, columns: Seq[(String, String)]): Unit =
    nested(json, "columns")(columns.foreach { case (name, kind) => json.writeStringField(name, kind) })

  private def nested(json: JsonGenerator, name: String = "")(content: => Unit): Unit = {
    if (name.nonEmpty) json.writeFieldName(name)
    json.writeStartObject()
    content
    json.writeEndObject()
  }
}
