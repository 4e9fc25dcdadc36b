import Foundation
import KafkaClient
import ServiceSupport
import Wire

extension Doctor {
    static let configurationChecks = [
        Check(
            "configuration", "The configuration loads, and its files can be read", roles: Role.workers,
            looks: [.files, .kafka],
            mistakes: [refused, unreadable, open, expired, expiring, property]
        ) { facts in
            var findings = facts.examination.roles.compactMap { role in
                role.fault.map { refused.found("\(role.role.rawValue): \($0)", ["role": role.role.rawValue]) }
            }
            var told: Set<ExaminedFile> = []
            for one in facts.files.value ?? [] where told.insert(one.file).inserted {
                let values = ["file": one.file.path, "setting": one.file.setting]
                if let fault = one.fault {
                    findings.append(unreadable.found("\(one.file.path) (\(one.file.setting)): \(fault)", values))
                    continue
                }
                if one.file.content == .secret, one.isReadableByOthers {
                    findings.append(open.found("\(one.file.path) (\(one.file.setting)) is readable by others", values))
                }
                guard let end = one.expiresAtMs else { continue }
                let said = "\(one.file.path) (\(one.file.setting)) ends on \(Timestamp.rfc3339Seconds(end))"
                if end <= facts.nowMs {
                    findings.append(expired.found(said, values))
                } else if end - facts.nowMs < 14 * 86_400_000 {
                    findings.append(expiring.found(said, values))
                }
            }
            for server in facts.kafka.value?.servers ?? [] where server.isMisconfigured {
                findings.append(property.found(server.said))
                break
            }
            let roles = facts.examination.roles.map(\.role.rawValue).joined(separator: ", ")
            return .judged(findings, else: roles)
        }
    ]

    private static let refused = Mistake(
        "refused", .failure,
        sees: "a role's reader refuses the settings: an unknown key, a value out of range, a setting that is missing",
        means: "the role <role> does not start with this configuration",
        mend:
            "correct the setting that the text names; docs/configuration.md lists all. If this process has no role <role>, name its roles: beckon doctor --role NAME"
    )
    private static let unreadable = Mistake(
        "unreadable", .failure, sees: "a file that a setting names cannot be read, or is not what it should be",
        means: "the role that uses <setting> does not start",
        mend: "check that <file> exists and that the user of the role may read it: ls -l <file>; chmod 0400 <file>")
    private static let open = Mistake(
        "readable-by-others", .warning, sees: "a file with secrets is readable by every user of the machine",
        means: "every user and every process of the machine can read the keys in <file>",
        mend: "chmod 0400 <file>, with the role's user as its owner")
    private static let expired = Mistake(
        "certificate-expired", .failure, sees: "a certificate has expired",
        means: "clients and servers refuse the certificate",
        mend:
            "renew the certificate in <file>. A producer reads api.tlsCertificateFile and deviceApi.tlsCertificateFile again when they change; other roles must be restarted"
    )
    private static let expiring = Mistake(
        "certificate-expires-soon", .warning, sees: "a certificate ends in less than 14 days",
        means: "clients and servers will refuse the certificate then", mend: "renew the certificate in <file>")
    private static let property = Mistake(
        "kafka-property", .failure, sees: "librdkafka refuses a property of kafka.properties",
        means: "no role can make a Kafka client",
        mend: "correct BECKON_KAFKA_PROPERTIES; librdkafka's CONFIGURATION.md lists names and values")
}
