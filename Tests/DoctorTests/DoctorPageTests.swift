import Doctor
import Foundation
import Testing

@Suite("The page of the checks")
struct DoctorPageTests {
    private let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/doctor.md")
    private let mark = "DoctorPageTests. -->\n\n"

    @Test("docs/doctor.md has every check with its mistakes; BECKON_WRITE_DOCS=1 writes them")
    func documented() throws {
        let page = try String(contentsOf: file, encoding: .utf8)
        let end = try #require(page.range(of: mark)?.upperBound)
        let expected = Doctor.markdown + "\n"
        if ProcessInfo.processInfo.environment["BECKON_WRITE_DOCS"] == "1" {
            try (page[..<end] + expected).write(to: file, atomically: true, encoding: .utf8)
        } else {
            #expect(String(page[end...]) == expected, "run this test with BECKON_WRITE_DOCS=1")
        }
    }

    @Test("there are 29 checks, each with an id of its own, a role and a mistake")
    func checks() {
        let checks = Doctor.checks
        #expect(checks.count == 29)
        #expect(Set(checks.map(\.id)).count == checks.count)
        for check in checks {
            #expect(!check.roles.isEmpty && !check.mistakes.isEmpty, "\(check.id)")
            #expect(Set(check.mistakes.map(\.id)).count == check.mistakes.count, "\(check.id)")
        }
    }
}
