"""Freeze a program that uses an installed wheel, by PyInstaller, and run it: `make dist`.

    python .ci/check_frozen.py WHEEL

PyInstaller finds no imports in compiled modules, except by lomond's own hook.
"""
import os
import subprocess
import sys
import tempfile

PROGRAM = '''
import lomond
from lomond.server import Server


def echo(websocket):
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(event.text)


with Server(echo) as server:
    websocket = lomond.WebSocket(server.url)
    for event in websocket:
        if event.name == 'ready':
            websocket.send_text(u'echo')
        elif event.name == 'text':
            print(event.text, lomond.accelerated)
            websocket.close()
'''


def main(wheel):
    with tempfile.TemporaryDirectory() as folder:
        installed = os.path.join(folder, 'installed')
        subprocess.check_call(
            [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', installed,
             wheel])
        program = os.path.join(folder, 'program.py')
        with open(program, 'w') as opened:
            opened.write(PROGRAM)
        subprocess.check_call(
            [sys.executable, '-m', 'PyInstaller', '--onefile', '--log-level', 'ERROR', program],
            cwd=folder, env=dict(os.environ, PYTHONPATH=installed))
        frozen = os.path.join(folder, 'dist', 'program')
        for choice, expected in ('', 'echo True\n'), ('no', 'echo False\n'):
            output = subprocess.check_output(
                [frozen], env=dict(os.environ, LOMOND_COMPILED=choice), universal_newlines=True)
            if output != expected:
                sys.exit('frozen, LOMOND_COMPILED={}: {!r}'.format(choice, output))
    print('A frozen program uses {}.'.format(os.path.basename(wheel)))


if __name__ == '__main__':
    main(sys.argv[1])
