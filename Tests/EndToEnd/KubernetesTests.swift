import TestSupport
import Testing

@Suite("Kubernetes", .timeLimit(.minutes(10)))
struct KubernetesTests {
    @Test("the manifests render, pass strict schemas, and fit each other, the settings and the metrics")
    func manifests() async throws {
        let run = try await ToolRun.of("Tests/Kubernetes/run")
        if run.status == 77 { try Test.cancel("\(run.output.split(separator: "\n").last ?? "skipped")") }
        #expect(run.status == 0, "\(run.output)")
        #expect(run.output.contains("postgresql: ") && run.output.contains("sqlite: "), "\(run.output)")
    }
}
