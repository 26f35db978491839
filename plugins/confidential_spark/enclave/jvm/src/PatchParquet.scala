package confidentialspark

import java.nio.file.{Files, Paths}
import org.apache.xbean.asm9.{ClassReader, ClassVisitor, ClassWriter, MethodVisitor, Opcodes}

/** At build time: writes Parquet's `SchemaElement` with one method changed.
  *
  * A column of a logical type that is newer than this Parquet (FLOAT16, GEOMETRY, VARIANT) stops it from
  * reading any column of the file. The changed `isSetLogicalType` lets it see the plain type instead, and a
  * column that nobody asked for does no harm.
  */
object PatchParquet {
  private val Target = "org/apache/parquet/format/SchemaElement"
  private val Type = "org/apache/parquet/format/LogicalType"

  /** @param arguments the folder of classes to write to */
  def main(arguments: Array[String]): Unit = {
    val original = getClass.getClassLoader.getResourceAsStream(s"$Target.class")
    val writer = new ClassWriter(0)
    var changed = 0
    val visitor = new ClassVisitor(Opcodes.ASM9, writer) {
      override def visitMethod(access: Int, name: String, kind: String, generic: String, thrown: Array[String]) = {
        val method = super.visitMethod(access, name, kind, generic, thrown)
        if (name != "isSetLogicalType") method
        else {
          changed += 1
          writeBody(method)
          null
        }
      }
    }
    new ClassReader(original).accept(visitor, 0)
    if (changed != 1) throw new IllegalStateException(s"$Target has another form")
    val file = Paths.get(arguments.head).resolve(s"$Target.class")
    Files.createDirectories(file.getParent)
    Files.write(file, writer.toByteArray)
  }

  /** `return LogicalTypes.isKnown(this.logicalType);` */
  private def writeBody(method: MethodVisitor): Unit = {
    method.visitCode()
    method.visitVarInsn(Opcodes.ALOAD, 0)
    method.visitFieldInsn(Opcodes.GETFIELD, Target, "logicalType", s"L$Type;")
    method.visitMethodInsn(
      Opcodes.INVOKESTATIC, "confidentialspark/LogicalTypes", "isKnown", s"(L$Type;)Z", false)
    method.visitInsn(Opcodes.IRETURN)
    method.visitMaxs(1, 1)
    method.visitEnd()
  }
}
