import Foundation
import TestSupport
import Testing

/// The reference documentation that app developers read.
@Suite("DeviceKit's reference", .timeLimit(.minutes(5)))
struct ReferenceTests {
    @Test("scripts/docc finds a comment on every public symbol, and every link leads to a symbol")
    func docc() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let run = try await ToolRun.of("scripts/docc", [folder.path], deadline: .seconds(240))
        #expect(run.status == 0, "\(run.output)")
        let page = folder.appending(path: "DeviceKit.doccarchive/data/documentation/devicekit/device.json")
        #expect(FileManager.default.fileExists(atPath: page.path))
    }
}
