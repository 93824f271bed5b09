// Known answers for each transform. `sweep` folds the outputs of every size: computed with pyca/cryptography 48 and Python's hmac.

import IKEWire

enum KnownAnswers {
    static let aeads: [AEADAnswer] = [
        // McGrew and Viega, "The Galois/Counter Mode of Operation", test case 4.
        AEADAnswer(
            transform: .aesGCM16(128),
            key: "feffe9928665731c6d6a8f9467308308",
            nonce: "cafebabefacedbaddecaf888",
            aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            text: """
                d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b\
                39
                """,
            sealed: """
                42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e0\
                91
                """,
            tag: "5bc94fbc3221a5db94fae95ae7121a47",
            sweep: "bd99f49195be1bc0afee23551e5835ab"),
        // The same, test case 16.
        AEADAnswer(
            transform: .aesGCM16(256),
            key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            nonce: "cafebabefacedbaddecaf888",
            aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            text: """
                d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b\
                39
                """,
            sealed: """
                522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f6\
                62
                """,
            tag: "76fc6ece0f4e1768cddf8853bb2d551b",
            sweep: "187496cc5ca44d1a0e0c41d7384e338e"),
        // RFC 8439 section 2.8.2.
        AEADAnswer(
            transform: .chaCha20Poly1305,
            key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            nonce: "070000004041424344454647",
            aad: "50515253c0c1c2c3c4c5c6c7",
            text: """
                4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64206f6666657220\
                796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069742e
                """,
            sealed: """
                d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5\
                b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116
                """,
            tag: "1ae10b594f09e26a7e902ecbd0600691",
            sweep: "265a373087b177b1282cad90b919f2ac"),
    ]

    static let ciphers: [CipherAnswer] = [
        // RFC 3602 section 4, case 2.
        CipherAnswer(
            transform: .aesCBC(128),
            key: "c286696d887c9aa0611bbb3e2025a45a",
            iv: "562e17996d093d28ddb3ba695a2e6f58",
            text: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            encrypted: "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
            sweep: "75309de335703397d4d03b7f17557f04"),
        // NIST SP 800-38A, F.2.5.
        CipherAnswer(
            transform: .aesCBC(256),
            key: "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            iv: "000102030405060708090a0b0c0d0e0f",
            text: """
                6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b41\
                7be66c3710
                """,
            encrypted: """
                f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19\
                078c6a9d1b
                """,
            sweep: "74a59e2cd736bbd806370b3320a710dc"),
    ]

    static let macs: [MACAnswer] = [
        // RFC 2202 section 3, test case 1.
        MACAnswer(
            transform: .hmacSHA1_96,
            key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            data: "4869205468657265",
            tag: "b617318655057264e28bc0b6",
            sweep: "e44cf364af7bc408af38a6d4"),
        // RFC 4868 section 2.7.2, AUTH256-1.
        MACAnswer(
            transform: .hmacSHA256_128,
            key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            data: "4869205468657265",
            tag: "198a607eb44bfbc69903a0f1cf2bbdc5",
            sweep: "1d6f2554e9a9829c00e460bc56bc7031"),
        // RFC 4868 section 2.7.2, AUTH384-1.
        MACAnswer(
            transform: .hmacSHA384_192,
            key: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
            data: "4869205468657265",
            tag: "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
            sweep: "8dde8636414874107e6675701cff2aa3cf37b5f665443a99"),
        // RFC 4868 section 2.7.2, AUTH512-1.
        MACAnswer(
            transform: .hmacSHA512_256,
            key: """
                0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b\
                0b0b0b0b0b
                """,
            data: "4869205468657265",
            tag: "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
            sweep: "eb6de62d4b2907a4688d16f9af4bce0937c49f5c3433c4129885e3cfd4a0a9f3"),
    ]

    static let prfs: [PRFAnswer] = [
        // RFC 2202 section 3, test case 2.
        PRFAnswer(
            transform: .prfHMACSHA1,
            key: "4a656665",
            data: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            output: "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            sweep: "dee9272702d14bf386f855ab007836d465aae67a"),
        // RFC 4231 section 4.3.
        PRFAnswer(
            transform: .prfHMACSHA256,
            key: "4a656665",
            data: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            output: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            sweep: "053c38648991af1ebfcbae793ad570eb226c00b63cc7ba767e76901c0ab0e472"),
        // RFC 4231 section 4.3.
        PRFAnswer(
            transform: .prfHMACSHA384,
            key: "4a656665",
            data: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            output: "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            sweep: "af7ede98e411b334bb877011bd85d2f621e36b7d86121416a872b03930b3a7227081aca6de5b6ae58dde25eab634f25f"),
        // RFC 4231 section 4.3.
        PRFAnswer(
            transform: .prfHMACSHA512,
            key: "4a656665",
            data: "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            output: """
                164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e07\
                0a38bce737
                """,
            sweep: """
                b0297f1951a14c9c193babf730d6a723b3030cb1ae43c2bc236fbec85e975bd3ecb85a6ad2572527e6309f43e2a0eb941602193431844d19924464\
                ff8d36d351
                """),
    ]

    static let keyExchanges: [KeyExchangeAnswer] = [
        // RFC 7748 section 5.2.
        KeyExchangeAnswer(
            transform: .curve25519,
            privateValue: "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            peerValue: "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            shared: "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"),
        // RFC 7748 section 6.2.
        KeyExchangeAnswer(
            transform: .curve448,
            privateValue: "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b",
            peerValue: "3eb7a829b0cd20f5bcfc0b599b6feccf6da4627107bdb0d4f345b43027d8b972fc3e34fb4232a13ca706dcb57aec3dae07bdc1c67bf33609",
            shared: "07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282bb60c0b56fd2464c335543936521c24403085d59a449a5037514a879d"),
        // RFC 5903 section 8.1.
        KeyExchangeAnswer(
            transform: .ecp256,
            privateValue: "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
            peerValue: """
                d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf6356fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f\
                33039872ab
                """,
            shared: "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"),
        // Computed with pyca/cryptography 48.
        KeyExchangeAnswer(
            transform: .ecp384,
            privateValue: "00d0a6a5d05b34941857fceeabbcc87dceafc7ea6068c1e44f4f834c33f7d987fc0c1646ec3d55cf42573d6d7cf0b691",
            peerValue: """
                7901b60b3cbdce562b5309c861250f2a1df2b4f78397e0877d33cbcb4dbf071363663d46f1a73b0f96b8045c50df02fd8d619cba028210d47a0979\
                955a36a893428c2cc817d0888f4a9b587fab2938fcb11ac3b286872f05681f26320db2c639
                """,
            shared: "e87754e1c7feb7173decc9a2b8da2a1db7d8a90f8773d27508542d27d3359dd8654d5e787752fe00da3f13618173ad01"),
        // Computed with pyca/cryptography 48.
        KeyExchangeAnswer(
            transform: .ecp521,
            privateValue: """
                00e09ebbf32dc186e9c97e2f648a56699bf900f5f8f26be50038e44bf22cebb50c173100743239af70519683b4601f7b06d905465970d27335b68d\
                8561282577b55f
                """,
            peerValue: """
                0175a5d1bd70293dabe272359ec4311b2736066f45485d15f86cef6c3c2be2ef4dd70852dcea5494d416df5d7635cd17b4165e39af31dae795b593\
                aecf099f0333bc005ef87e7d9096a416f93f61c26f5429e53b618a1c0103923e0b05b0c3c9d68a7f4ca26ece8cf705e0484fb89959f07303ed7e55\
                f52bbf6206aae315641861df644f
                """,
            shared: """
                01f34dc3bd3503a41db4585b4e7e53a645437b5c6efc4794c1fff0f21bb84f57d06cc0deeeeb02999bc9fbbb82d2f0091f02c2e500132298e869b9\
                201c000d3828d4
                """),
        // Computed with integers of Python.
        KeyExchangeAnswer(
            transform: .modp1024,
            privateValue: "7006ed97cd6413b5a12451d893ba885f726ac3c91978067d9ee5f2f22ceb8fdb",
            peerValue: """
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                00000000000000000002
                """,
            shared: """
                2db061e248cc68d8e3da418cf03983b82fc0e8605e3bd6b540ac9770c1d0957218cb934eeb259d2f0ffcecfb7fa28f8fbc3db5726eb55f300d6ca6\
                93523a25d3075bd8e51d8b2188486e87856b03311e3cc5cf66044126e95e16715c6e06e1e21975715c003fee8ff02e9888c15eab7a9ade0e065e37\
                b9a3fdf55e4dd22bd292
                """),
        // Computed with integers of Python.
        KeyExchangeAnswer(
            transform: .modp2048,
            privateValue: "ba8435bcd7e344493c5d54ff9219db1e7e2a4c53ba2addd7b89c120c9bf55643",
            peerValue: """
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000002
                """,
            shared: """
                5411755ed6215874ac3c497377d974c9af13c508743327881eab6b2d82ad353e67b81aa382804036b3b7001cccdfe318cec3dae3fd4445aa17801c\
                0364ed7401aeeb9433524f2d097adaf8b4d7153ff7667197daf656297b385f4ba6a0912a3a553fbe2aa686dacbe65e5f872944dc815b3fb9c22772\
                bd3f3147b1e80ad9b303136f65564221c6c748a055980c566c242235b85d4244b2d4827b66c64f35233be6e483794dd76437adfa7228a7fc696109\
                abd2d7b58c287bcad7640efcb8d6aecafaac590316629bdbf5d01cc6cafeb0cab8bf704d9f6a95340cbbae8ec20fdaad3191b40fadfd42de6bc127\
                4c310fd5e3d617970e6811c06a289832c541a24e
                """),
        // Computed with integers of Python.
        KeyExchangeAnswer(
            transform: .modp3072,
            privateValue: "d80aefbaca09e71acab675686d349fd7831c37248fd752d3b1323b928c6e4806",
            peerValue: """
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                000000000000000000000000000000000000000000000000000000000002
                """,
            shared: """
                36a51d2ffcc69e7ff3aaa7210314a60351577b2ac49508df88f09dae51adb97eef95ee0c16cc24d07d3813ad95efe92ee9631e3572d7d0a1e4a94e\
                d098f58457873987b774ff536af1f539204c9256498337ed6a90af6bdd6fd38f8df1390df4c58ad9726f4c495e82982a70232b7bf75e6200636859\
                06c01d00d3f17622aec299199ba29662b4e7c9acee9aab21afdd05bc0d5d62c134b7769ababe2ff774603e77240ff1b6e17484414b979eebe20166\
                665f0cc770fb203f3145cb0ebfba71f84bdc0447eaacd06bb7e3a9a62506fbf4aed022a8b020357363372d7201528b824d928279b314147cbea994\
                e6212e46f4dc2b6466038dbd9d0756a093bb610af633eaddf85b7002fb0bd07260be81572ac1b3d5a5135678ed5ce6ae4e18efb37eb74dd5d3e9f7\
                54806a817270ddaba0568c77fa546eadbde9d2a68eab91c3da564100d509318c163c4e927b52abed3156a9f7679adf0e508b09307a0292f7b5ec5b\
                9113de2faed0ede62ae79514574ec34d64d586b9da57b23c96bc4f87528a
                """),
        // Computed with integers of Python.
        KeyExchangeAnswer(
            transform: .modp4096,
            privateValue: "aeae7e2007199b5b15078093eb4d39d5b22323323ab1b6043cd750c5fd93cb22",
            peerValue: """
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
                00000000000000000000000000000000000000000000000000000000000000000000000000000002
                """,
            shared: """
                190a57e47e1a347f4adb43b53f296aa17db52a6e140e3de0b64a16dac98bf87acc46513f46f70a64b4a28aa2ab93f80d8549c075afb6a894a62ae9\
                0db486e998384a98c3df84d44fe2ad931a70f760a65b21a7f85ad4d5c6cc1200e1f6daadd2f6a3789c88d4347fffb4dac43dc89bbe5152f2557d16\
                faf9262665d096e59a03408c2d8ba29a64da07e0eeeecc39f45f117bcb5225ccd5787913ca2c9ae5d736026df271a6616c114b367272e8f972cf51\
                b13f4e996aa656aac8bf8dcfdc175e01cbb9dc730b0d2ce4812c1394c2eca374727a380cf1c4faf2e2654c31b111138b21de86ddf0981e86f553cd\
                eddf4b222ec5dac78e02c44be30c0afeae7728db198988270f1fa08bdd5dc2ef5964db682ae72684e7ca4632550765b8b294b7e1cdde146fa42d7b\
                6f3d6a3b55ce362ad4ef2202b829f4f15fb49e9cd2f56ecf9498e476258b0134971d0174050928bb7f6e653dd94cba82229a2100b133964f87c4f3\
                d99922247d35a6dcccc4fe014209da693cc9665c91ee334cc28c40363e8172796971cdfd96f0e113cbf9f436cc3715ead407577afb8a75eadab9d5\
                b70cb7aa2d18461201ef20066917102a8ce0107614fafcebbd00c58e7c88541f3846574f8f02008d8411017da42684b4ffebf501b749a3b890c771\
                ab0177c985770f27d48922ce9a66f7b0756a903988c1c0dc7ea10f1c1590c6899e6daecd0eaa1d10
                """),
    ]
}

struct AEADAnswer: Sendable {
    let transform: Transform
    let key: String
    let nonce: String
    let aad: String
    let text: String
    let sealed: String
    let tag: String
    let sweep: String
}

struct CipherAnswer: Sendable {
    let transform: Transform
    let key: String
    let iv: String
    let text: String
    let encrypted: String
    let sweep: String
}

struct MACAnswer: Sendable {
    let transform: Transform
    let key: String
    let data: String
    let tag: String
    let sweep: String
}

struct PRFAnswer: Sendable {
    let transform: Transform
    let key: String
    let data: String
    let output: String
    let sweep: String
}

struct KeyExchangeAnswer: Sendable {
    let transform: Transform
    let privateValue: String
    let peerValue: String
    let shared: String
}
