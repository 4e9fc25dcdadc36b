import ServiceSupport

extension Doctor {
    /// The part of docs/doctor.md that is written from the checks.
    public static var markdown: String {
        checks.enumerated().map { index, check in
            let roles = check.roles.map(\.rawValue).sorted().joined(separator: ", ")
            let rows = check.mistakes.map { mistake in
                """
                | `\(mistake.id)` | \(mistake.severity.rawValue) | \(cell(mistake.sees)) | \(cell(mistake.means)) | \
                \(cell(mistake.mend)) |
                """
            }
            return """
                ### \(check.id)

                \(index + 1). \(check.title). Roles: \(roles).

                | mistake | severity | sees | means | do |
                |---|---|---|---|---|
                \(rows.joined(separator: "\n"))
                """
        }.joined(separator: "\n\n")
    }

    private static func cell(_ text: String) -> String {
        text.replacing("|", with: "\\|").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
    }
}
